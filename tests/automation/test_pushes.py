from __future__ import annotations

import json
from typing import Any

import pytest

from inventory_service.automation import pushes
from inventory_service.automation.pushes import GITHUB, GITLAB, Push
from inventory_service.errors import InvalidError

SHA = "a" * 40
GITHUB_PUSH = {
    "ref": "refs/heads/main",
    "after": SHA,
    "deleted": False,
    "pusher": {"name": "ada"},
    "head_commit": {"id": SHA, "message": "Sell compasses\n\nat last"},
}
GITLAB_TAG = {
    "ref": "refs/tags/v2",
    "after": "b" * 40,
    "checkout_sha": SHA,
    "user_username": "ada",
    "commits": [{"id": "b" * 40, "message": "other"}, {"id": SHA, "message": "Sell compasses"}],
}


def read(provider: str, event: str, content: Any) -> tuple[str, Push | None]:
    name = {"github": "x-github-event", "gitlab": "x-gitlab-event"}[provider]
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return pushes.read(provider, {name: event}, body)


def test_it_reads_a_push_at_github() -> None:
    assert read(GITHUB, "push", GITHUB_PUSH) == ("push", Push("branch:main", SHA, "ada", "Sell compasses"))


def test_it_reads_a_tag_at_gitlab() -> None:
    """An annotated tag's own id is `after`; what is to be deployed is the commit that it names."""
    assert read(GITLAB, "Tag Push Hook", GITLAB_TAG)[1] == Push("tag:v2", SHA, "ada", "Sell compasses")


@pytest.mark.parametrize("change", [{"deleted": True}, {"after": "0" * 40}])
def test_it_sees_that_a_branch_was_deleted(change: dict[str, Any]) -> None:
    push = read(GITHUB, "push", GITHUB_PUSH | change)[1]
    assert push is not None
    assert push.revision is None


@pytest.mark.parametrize(("provider", "event"), [(GITHUB, "ping"), (GITLAB, "Issue Hook"), (GITHUB, "")])
def test_it_passes_by_other_events(provider: str, event: str) -> None:
    assert read(provider, event, b"not even JSON")[1] is None


def test_it_passes_by_refs_that_are_neither_branch_nor_tag() -> None:
    assert read(GITHUB, "push", GITHUB_PUSH | {"ref": "refs/notes/commits"})[1] is None


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"[]", b"[" * 100_000, GITHUB_PUSH | {"after": "--upload-pack=x"}]
)
def test_it_rejects_what_is_no_push(content: Any) -> None:
    with pytest.raises(InvalidError):
        read(GITHUB, "push", content)


@pytest.mark.parametrize("odd", [{"pusher": "ada"}, {"head_commit": []}, {"commits": {}}, {"pusher": {"name": {}}}])
def test_it_lives_with_odd_fields(odd: dict[str, Any]) -> None:
    push = read(GITHUB, "push", GITHUB_PUSH | odd)[1]
    assert push is not None
    assert push.revision == SHA


def test_it_keeps_control_characters_out() -> None:
    push = read(GITHUB, "push", GITHUB_PUSH | {"pusher": {"name": "ada\x1b[31m\u202e"}})[1]
    assert push is not None
    assert push.by == "ada[31m"
