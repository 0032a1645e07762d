"""Reading prompts: the file beside a playbook, and the `vars_prompt` of its plays and of the playbooks it imports.

All of it is whoever's who pushes to the source.
"""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from inventory_service.deployments.prompting.prompts import (
    BOOLEAN,
    CHOOSING,
    INTEGER,
    MULTIPLE_CHOICE,
    TEXT,
    TEXTS,
    TYPES,
    AnswerError,
    Prompt,
)
from inventory_service.errors import SourceError

Reader = Callable[[str], bytes | None]
"""The content of one file of the source by its path; None where there is none."""

SUFFIX = ".prompts.yml"
_KEYS = ("name", "question", "type", "help", "required", "default", "secret", "choices", "min", "max", "pattern")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LARGEST_FILE = 512 * 1024
_MOST, _MOST_CHOICES, _LONGEST_TEXT, _LONGEST_PATTERN = 50, 200, 1000, 500
_MOST_IMPORTS = 50
_IMPORTS = ("import_playbook", "ansible.builtin.import_playbook", "ansible.legacy.import_playbook")
_HASHED = "Taken as it is, although the playbook says encrypt: give the hash, or let it use the filter password_hash."


def file_beside(playbook: str) -> str:
    """Where a playbook declares its prompts: `ops/charge.prompts.yml` for `ops/charge.yml`."""
    return posixpath.splitext(playbook)[0] + SUFFIX


def find(read: Reader, playbook: str) -> list[Prompt]:
    """The playbook's prompts: those of the file in its order, then what only plays ask for.

    An entry of the file beats a play's vars_prompt of the same name. Raises SourceError for a file that is wrong; a
    playbook that is wrong is Ansible's to refuse.
    """
    asked = {one.name: one for one in _asked_by_plays(read, playbook)}
    content = read(file_beside(playbook))
    declared = parse(content, file_beside(playbook)) if content is not None else []
    found = {one.name: dataclasses.replace(one, is_asked=one.name in asked) for one in declared}
    return list((found | {name: one for name, one in asked.items() if name not in found}).values())


def parse(content: bytes, path: str) -> list[Prompt]:
    """The prompts that a file declares: a list, an entry each. Raises SourceError that says what is wrong where."""
    try:
        entries = _load(content)
    except _FileError as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    if not isinstance(entries, list) or len(entries) > _MOST:
        raise SourceError(f"{path} is no list of at most {_MOST} prompts.")
    found: dict[str, Prompt] = {}
    for number, entry in enumerate(entries, start=1):
        try:
            one = _declared(entry)
        except _FileError as error:
            raise SourceError(f"{path}, prompt {number}: {error}") from error
        if one.name in found:
            raise SourceError(f"{path}, prompt {number}: {one.name} is asked for twice.")
        found[one.name] = one
    return list(found.values())


class _FileError(Exception):
    """What is wrong in a file, or with an entry of it."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Takes tags such as !vault and !unsafe for nothing, not for an error. With libyaml, as Ansible: it takes more."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def _load(content: bytes) -> Any:
    if len(content) > _LARGEST_FILE:
        raise _FileError(f"it is larger than {_LARGEST_FILE // 1024} KB.")
    try:
        return yaml.load(content.decode(), _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}: {error.problem})" if mark else ""  # type: ignore[union-attr]
        raise _FileError(f"no YAML{place}.") from error


# the file


def _declared(entry: Any) -> Prompt:
    if not isinstance(entry, dict):
        raise _FileError("an entry has the keys name, question, type and so on.")
    odd = [_seen(key) for key in entry if key not in _KEYS]
    if odd:
        raise _FileError(f"unknown key {odd[0]!r}; there are {', '.join(_KEYS)}.")
    name, kind = entry.get("name"), entry.get("type", TEXT)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith(("ansible_", "callboard_")):
        raise _FileError(f"name is the name of an extra var, not {_seen(name)!r}.")
    if not isinstance(kind, str) or kind not in TYPES:
        raise _FileError(f"type is one of {', '.join(TYPES)}, not {_seen(kind)!r}.")
    default = entry.get("default")
    made = Prompt(
        name=name,
        question=_text(entry, "question") or name,
        type=kind,
        help=_text(entry, "help"),
        is_required=_flag(entry, "required", otherwise=default is None),
        is_secret=_flag(entry, "secret", otherwise=False),
        choices=_choices(entry, kind),
        minimum=_bound(entry, "min", kind),
        maximum=_bound(entry, "max", kind),
        pattern=_pattern(entry, kind),
    )
    if made.is_secret and (kind not in TEXTS or default is not None):
        raise _FileError("a secret prompt is a text or textarea, and has no default: whoever sees the source sees it.")
    return made if default is None else dataclasses.replace(made, default=_default(made, default))


def _default(prompt: Prompt, value: Any) -> Any:
    try:
        return prompt.settle(value)
    except AnswerError as error:
        raise _FileError(f"the default {_seen(value)!r} is no answer. {error}") from error


def _seen(value: Any) -> str:
    """For a message: of a list or mapping, which may unfold without end, its type."""
    return str(value)[:60] if isinstance(value, str | int | float) else type(value).__name__


def _text(entry: dict[str, Any], key: str) -> str:
    text = entry.get(key, "")
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT:
        raise _FileError(f"{key} is a text of at most {_LONGEST_TEXT} characters.")
    return " ".join(text.split())


def _flag(entry: dict[str, Any], key: str, *, otherwise: bool) -> bool:
    flag = entry.get(key, otherwise)
    if not isinstance(flag, bool):
        raise _FileError(f"{key} is true or false.")
    return flag


def _choices(entry: dict[str, Any], kind: str) -> tuple[str, ...]:
    given = entry.get("choices")
    if (given is not None) != (kind in CHOOSING):
        raise _FileError(f"choices belong to the types {' and '.join(CHOOSING)}, which need them.")
    if given is None:
        return ()
    is_list = isinstance(given, list) and 0 < len(given) <= _MOST_CHOICES
    if not is_list or any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in given):
        raise _FileError(f"choices are 1 to {_MOST_CHOICES} texts; quote words such as yes and on.")
    texts = tuple(str(one) for one in given)
    if "" in texts or len(set(texts)) < len(texts):
        raise _FileError("choices differ from each other, and none is empty.")
    return texts


def _bound(entry: dict[str, Any], key: str, kind: str) -> float | None:
    bound = entry.get(key)
    if bound is None:
        return None
    if kind in (BOOLEAN, "choice") or isinstance(bound, bool) or not isinstance(bound, int | float):
        raise _FileError(f"{key} is a number: a bound of numbers, of a text's length, or of how many are chosen.")
    if kind in (*TEXTS, MULTIPLE_CHOICE, INTEGER) and not isinstance(bound, int):
        raise _FileError(f"{key} is a whole number here.")
    return bound


def _pattern(entry: dict[str, Any], kind: str) -> str | None:
    pattern = entry.get("pattern")
    if pattern is None:
        return None
    if kind not in TEXTS or not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN:
        raise _FileError(f"pattern is a regular expression of at most {_LONGEST_PATTERN} characters, for texts.")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise _FileError(f"pattern is no regular expression: {error}.") from error
    return pattern


# the plays


def _asked_by_plays(read: Reader, playbook: str) -> Iterator[Prompt]:
    waiting, seen = [playbook], {playbook}
    while waiting and len(seen) <= _MOST_IMPORTS:
        path = waiting.pop(0)
        for play in _plays(read(path)):
            entries = play.get("vars_prompt") or []
            for entry in [entries] if isinstance(entries, dict) else entries if isinstance(entries, list) else []:
                if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _NAME.fullmatch(entry["name"]):
                    yield _of_play(entry)
            imported = _imported(play, path)
            if imported is not None and imported not in seen:
                seen.add(imported)
                waiting.append(imported)


def _plays(content: bytes | None) -> list[dict[str, Any]]:
    try:
        plays = _load(content) if content is not None else []
    except _FileError:
        return []
    return [play for play in plays if isinstance(play, dict)] if isinstance(plays, list) else []


def _imported(play: dict[str, Any], path: str) -> str | None:
    """The path of an imported playbook inside the source; None where only Ansible can tell."""
    name = next((play[key] for key in _IMPORTS if isinstance(play.get(key), str)), "").split(" ")[0]
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    is_plain = name.endswith((".yml", ".yaml")) and "{{" not in name and not name.startswith("/")
    return found if is_plain and not found.startswith("../") else None


def _of_play(entry: dict[str, Any]) -> Prompt:
    """Ansible hides what is typed unless `private` says no, and takes Enter for the default."""
    default = entry.get("default")
    is_known = isinstance(default, str | int | float) and "{{" not in str(default)
    text = entry.get("prompt")
    return Prompt(
        name=entry["name"],
        question=" ".join(text.split())[:_LONGEST_TEXT] if text and isinstance(text, str) else entry["name"],
        help=_HASHED if entry.get("encrypt") else "",
        is_required=not is_known,
        default=str(default) if is_known else None,
        is_secret=not _says_no(entry.get("private")),
        is_asked=True,
    )


def _says_no(value: Any) -> bool:
    return isinstance(value, str | int) and str(value).lower() in ("no", "false", "off", "0", "n", "f")
