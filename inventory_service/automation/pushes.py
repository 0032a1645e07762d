"""Reading what GitHub and GitLab say about a push. Pure functions; every field is somebody else's text."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from inventory_service.errors import InvalidError

GITHUB, GITLAB = "github", "gitlab"
_EVENT = {GITHUB: "x-github-event", GITLAB: "x-gitlab-event"}
_PUSHES = {GITHUB: ("push",), GITLAB: ("Push Hook", "Tag Push Hook", "System Hook")}
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_PREFIXES = {"refs/heads/": "branch:", "refs/tags/": "tag:"}
_LONGEST = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Push:
    """`ref` as branch:NAME or tag:NAME; `revision` the full commit, None when the ref was deleted."""

    ref: str
    revision: str | None
    by: str
    message: str


def read(provider: str, headers: Mapping[str, str], body: bytes) -> tuple[str, Push | None]:
    """(the event's name, the push); names of headers in lower case. No push for other events. Raises InvalidError."""
    event = _line(headers.get(_EVENT[provider], ""))
    if event not in _PUSHES[provider]:
        return event, None
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidError("The delivery is not JSON; set the webhook's content type to application/json.") from error
    if not isinstance(content, dict):
        raise InvalidError("The delivery is not a JSON object.")
    return event, _push(content)


def _push(content: dict[str, Any]) -> Push | None:
    full = str(content.get("ref", ""))
    prefix = next((prefix for prefix in _PREFIXES if full.startswith(prefix)), None)
    if prefix is None:
        return None
    revision = str(content.get("checkout_sha") or content.get("after") or "")
    is_deleted = content.get("deleted") is True or not revision.strip("0")
    if not is_deleted and not _SHA.fullmatch(revision):
        raise InvalidError(f"The delivery names no commit: {_line(revision)!r}.")
    ref = _PREFIXES[prefix] + _line(full.removeprefix(prefix))
    return Push(ref, None if is_deleted else revision, _by(content), _message(content, revision))


def _by(content: dict[str, Any]) -> str:
    pusher = content.get("pusher")
    name = pusher.get("name") if isinstance(pusher, dict) else content.get("user_username") or content.get("user_name")
    return _line(str(name or "somebody"))


def _message(content: dict[str, Any], revision: str) -> str:
    """The first line of the pushed commit's message."""
    commits = content.get("commits")
    known = [content.get("head_commit"), *(commits if isinstance(commits, list) else [])]
    found = [commit for commit in known if isinstance(commit, dict) and commit.get("id") == revision]
    return _line(str(found[0].get("message", ""))) if found else revision[:12]


def _line(text: str) -> str:
    """The first line, without control characters, not too long."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    return "".join(char for char in first if char.isprintable())[:_LONGEST]
