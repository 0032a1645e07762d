"""Two runs side by side: commits, variables, hosts, options, versions, and what came of each task."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from inventory_service.adapters import git
from inventory_service.deployments import variables
from inventory_service.deployments.comparing import task_diff
from inventory_service.deployments.runs import history, snapshot
from inventory_service.deployments.source.sources import Source
from inventory_service.errors import CallboardError
from inventory_service.models import Run, RunHost
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings

_MOST_COMMITS = 200
_MOST_FILES = 500
# Other in every run, or telling what stands among the options.
_SHOWN_ELSEWHERE = frozenset({"release_archive", *(f"callboard_{word}" for word in variables.ABOUT_THE_RUN)})

SAME, AHEAD, BEHIND, DIVERGED, OTHER, UNKNOWN = "same", "ahead", "behind", "diverged", "other", "unknown"
RELATIONS = (SAME, AHEAD, BEHIND, DIVERGED, OTHER, UNKNOWN)


@dataclasses.dataclass(frozen=True, slots=True)
class Commits:
    """`relation` is the second run's commit seen from the first's; `reason` says why it is not known."""

    before: str | None
    after: str | None
    relation: str
    log: tuple[git.Commit, ...] = ()
    files: tuple[git.FileChange, ...] = ()
    files_in_all: int = 0
    is_log_cut: bool = False
    reason: str | None = None

    @property
    def added(self) -> int:
        """Lines that the listed files have more."""
        return sum(file.added or 0 for file in self.files)

    @property
    def removed(self) -> int:
        """Lines that the listed files have less."""
        return sum(file.removed or 0 for file in self.files)


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """One named thing that differs."""

    name: str
    before: Any
    after: Any


@dataclasses.dataclass(frozen=True, slots=True)
class HostPair:
    """One host of either run, by name. `changes` are full phrases: the address, the key, the machine."""

    name: str
    before: RunHost | None
    after: RunHost | None
    changes: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`added`, `removed`, `changed` or `same`."""
        if self.before is None or self.after is None:
            return "added" if self.before is None else "removed"
        return "changed" if self.changes else "same"


@dataclasses.dataclass(frozen=True, slots=True)
class RunDiff:
    """Everything. `notes` are sentences about what could not be compared, or should be kept in mind."""

    before: Run
    after: Run
    commits: Commits
    variables: tuple[variables.Change, ...]
    hosts: tuple[HostPair, ...]
    options: tuple[Pair, ...]
    versions: tuple[Pair, ...]
    secrets: tuple[Pair, ...]
    tasks: task_diff.Tasks
    notes: tuple[str, ...]


def compare(before: Run, after: Run, settings: Settings) -> RunDiff:
    """Compare two runs, of one stage or of two. Never fails for what is missing on one side: a note says it."""
    return RunDiff(
        before=before,
        after=after,
        commits=_commits(before, after, settings),
        variables=tuple(_variables(before, after)),
        hosts=tuple(_hosts(before, after)),
        options=tuple(_pairs(_options(before), _options(after))),
        versions=tuple(_pairs(_versions(before), _versions(after))),
        secrets=tuple(_pairs(_secrets(before), _secrets(after))),
        tasks=task_diff.compare(before, after),
        notes=tuple(_notes(before, after)),
    )


def _notes(before: Run, after: Run) -> list[str]:
    notes = []
    if before.stage_id != after.stage_id:
        names = f"{stage_name(before.stage)} and {stage_name(after.stage)}"
        notes.append(f"The runs are of different stages, {names}: hosts are compared by their names.")
    return notes + [note for run in (before, after) for note in _lacks(run)]


def _lacks(run: Run) -> list[str]:
    if run.snapshot is None:
        return [f"Run {run.id} froze nothing: it is {run.status}."]
    sender = run.snapshot.get("sender")
    if sender is not None:
        is_dirty = " Its checkout had changes that are not committed." if sender["dirty"] else ""
        return [f"Run {run.id} is only recorded here, so its variables and collections are not known.{is_dirty}"]
    if not snapshot.is_full(run):
        return [f"Run {run.id} was recorded before runs kept variables, options and collections."]
    return []


def _commits(before: Run, after: Run, settings: Settings) -> Commits:
    old, new = before.source_commit, after.source_commit
    if old is None or new is None:
        return Commits(old, new, UNKNOWN, reason="Not both runs have a commit.")
    if before.stage.project_id != after.stage.project_id:
        return Commits(old, new, OTHER, reason="The runs are of different projects.")
    if old == new:
        return Commits(old, new, SAME)
    source = Source(before.stage.project, settings)
    try:
        log, files = source.log(old, new, most=_MOST_COMMITS + 1), source.changes(old, new)
    except CallboardError as error:
        return Commits(old, new, UNKNOWN, reason=error.detail)
    return Commits(
        old,
        new,
        _relation(log),
        log=tuple(log[:_MOST_COMMITS]),
        files=tuple(files[:_MOST_FILES]),
        files_in_all=len(files),
        is_log_cut=len(log) > _MOST_COMMITS,
    )


def _relation(log: list[git.Commit]) -> str:
    """A folder has no history: its revisions are just other ones."""
    sides = {commit.is_newer for commit in log}
    if not sides:
        return OTHER
    return DIVERGED if len(sides) > 1 else AHEAD if True in sides else BEHIND


def _variables(before: Run, after: Run) -> list[variables.Change]:
    if not snapshot.is_full(before) or not snapshot.is_full(after):
        return []
    old, new = (
        [one for one in snapshot.effective_variables(run) if one.name not in _SHOWN_ELSEWHERE]
        for run in (before, after)
    )
    return variables.compare(old, new)


def _hosts(before: Run, after: Run) -> list[HostPair]:
    old, new = ({row.name: row for row in history.hosts_of_run(run)} for run in (before, after))
    names = sorted(old.keys() | new.keys())
    return [HostPair(name, old.get(name), new.get(name), _changes(old.get(name), new.get(name))) for name in names]


def _changes(old: RunHost | None, new: RunHost | None) -> tuple[str, ...]:
    if old is None or new is None:
        return ()
    found = []
    if old.host_id != new.host_id:
        found.append("another machine of that name")
    if (old.address, old.port or 22) != (new.address, new.port or 22):
        found.append(f"address {_place(old)} → {_place(new)}")
    if old.host_id == new.host_id and None not in (old.keys_sha256, new.keys_sha256):
        found += ["other SSH host keys"] if old.keys_sha256 != new.keys_sha256 else []
    return tuple(found)


def _place(row: RunHost) -> str:
    return row.address if row.port in (None, 22) else f"{row.address} port {row.port}"


def _options(run: Run) -> dict[str, Any]:
    limits = (run.snapshot or {}).get("options", {})
    return {
        "kind": run.kind,
        "playbook": run.playbook,
        "release": run.release_number,
        "revision": (run.snapshot or {}).get("revision") or run.revision,
        "limit": run.limit,
        "exclude": run.exclude,
        "tags": run.tags,
        "skip_tags": run.skip_tags,
        "check": run.is_check,
        "diff": run.is_diff,
        **{name: limits[name] for name in ("forks", "timeout_seconds") if name in limits},
    }


def _versions(run: Run) -> dict[str, Any]:
    frozen = run.snapshot or {}
    required = {f"required {name}": version for name, version in frozen.get("required_collections", {}).items()}
    return {**frozen.get("versions", {}), **frozen.get("collections", {}), **required}


def _secrets(run: Run) -> dict[str, Any]:
    """When each secret was set; their values are nobody's business."""
    return {name: about["set_at"] for name, about in (run.snapshot or {}).get("secrets", {}).items()}


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> list[Pair]:
    names = [*old, *(name for name in new if name not in old)]
    return [Pair(name, old.get(name), new.get(name)) for name in names if _text(old, name) != _text(new, name)]


def _text(values: dict[str, Any], name: str) -> str:
    return json.dumps(values.get(name), sort_keys=True)
