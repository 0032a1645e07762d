"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field

from inventory_service.adapters import git
from inventory_service.deployments.comparing import run_diff, task_diff
from inventory_service.web.answers.base import Answer, WrittenMoment, one_of
from inventory_service.web.answers.run import Run
from inventory_service.web.answers.variable import VariableChange


class Commit(Answer):
    commit: str
    author: str
    at: WrittenMoment
    subject: str
    in_: Annotated[str, one_of("before", "after")] = Field(
        serialization_alias="in", description="Which of the two runs has it"
    )

    @classmethod
    def of(cls, found: git.Commit) -> Commit:
        """A commit that one of the two has."""
        return Commit(
            commit=found.sha,
            author=found.author,
            at=found.at,
            subject=found.subject,
            in_="after" if found.is_newer else "before",
        )


class FileChange(Answer):
    path: str
    added: int | None = Field(description="Lines; null where they were not counted")
    removed: int | None

    @classmethod
    def of(cls, found: git.FileChange) -> FileChange:
        """One file."""
        return FileChange(path=found.path, added=found.added, removed=found.removed)


class CommitDiff(Answer):
    before: str | None
    after: str | None
    relation: Annotated[str, one_of(*run_diff.RELATIONS)]
    reason: str | None = Field(description="Why the relation is not known")
    log: list[Commit]
    log_cut: bool
    files: list[FileChange]
    files_in_all: int
    added: int
    removed: int

    @classmethod
    def of(cls, found: run_diff.Commits) -> CommitDiff:
        """What lies between the two commits."""
        return CommitDiff(
            before=found.before,
            after=found.after,
            relation=found.relation,
            reason=found.reason,
            log=[Commit.of(one) for one in found.log],
            log_cut=found.is_log_cut,
            files=[FileChange.of(one) for one in found.files],
            files_in_all=found.files_in_all,
            added=found.added,
            removed=found.removed,
        )


class HostDifference(Answer):
    host: str
    changes: list[str]


class HostDiff(Answer):
    added: list[str]
    removed: list[str]
    same: list[str]
    changed: list[HostDifference]

    @classmethod
    def of(cls, found: Iterable[run_diff.HostPair]) -> HostDiff:
        """Names by what became of them; the changed ones with what changed."""
        pairs = list(found)
        return HostDiff(
            added=[one.name for one in pairs if one.kind == "added"],
            removed=[one.name for one in pairs if one.kind == "removed"],
            same=[one.name for one in pairs if one.kind == "same"],
            changed=[
                HostDifference(host=one.name, changes=list(one.changes)) for one in pairs if one.kind == "changed"
            ],
        )


class Pair(Answer):
    name: str
    before: Any
    after: Any

    @classmethod
    def of(cls, found: run_diff.Pair) -> Pair:
        """One option or version that differs."""
        return Pair(name=found.name, before=found.before, after=found.after)


class TaskSide(Answer):
    counts: dict[str, int] = Field(description="On how many hosts it came to what")
    longest_seconds: float | None = Field(description="On the slowest host")

    @classmethod
    def of(cls, found: task_diff.Side | None) -> TaskSide | None:
        """None where the run had no such task."""
        return None if found is None else TaskSide(counts=found.counts, longest_seconds=found.longest_seconds)


class TaskResult(Answer):
    status: str
    seconds: float | None

    @classmethod
    def of(cls, found: task_diff.Result | None) -> TaskResult | None:
        """None where the task did not run on the host."""
        return None if found is None else TaskResult(status=found.status, seconds=found.seconds)


class TaskHost(Answer):
    host: str
    different: bool = Field(description="Both runs worked on the host, with another outcome")
    before: TaskResult | None
    after: TaskResult | None

    @classmethod
    def of(cls, found: task_diff.HostResults) -> TaskHost:
        """What a task came to on one host in both runs."""
        return TaskHost(
            host=found.host,
            different=found.is_other,
            before=TaskResult.of(found.before),
            after=TaskResult.of(found.after),
        )


class TaskDiff(Answer):
    play: str
    task: str
    number: int = Field(description="Counts the tasks of that name in its play")
    different: bool
    before: TaskSide | None
    after: TaskSide | None
    hosts: list[TaskHost]

    @classmethod
    def of(cls, found: task_diff.TaskDiff) -> TaskDiff:
        """One task in both runs."""
        return TaskDiff(
            play=found.play,
            task=found.task,
            number=found.number,
            different=found.is_other,
            before=TaskSide.of(found.before),
            after=TaskSide.of(found.after),
            hosts=[TaskHost.of(one) for one in found.hosts],
        )


class RunDiff(Answer):
    before: Run
    after: Run
    notes: list[str]
    commits: CommitDiff
    variables: list[VariableChange]
    hosts: HostDiff
    options: list[Pair]
    versions: list[Pair]
    secrets: list[Pair] = Field(description="Those that were set at another time")
    tasks: list[TaskDiff]
    tasks_cut: bool

    @classmethod
    def of(cls, found: run_diff.RunDiff) -> RunDiff:
        """Everything that differs, and every task."""
        return RunDiff(
            before=Run.of(found.before),
            after=Run.of(found.after),
            notes=list(found.notes),
            commits=CommitDiff.of(found.commits),
            variables=[VariableChange.of(one) for one in found.variables],
            hosts=HostDiff.of(found.hosts),
            options=[Pair.of(one) for one in found.options],
            versions=[Pair.of(one) for one in found.versions],
            secrets=[Pair.of(one) for one in found.secrets],
            tasks=[TaskDiff.of(one) for one in found.tasks.items],
            tasks_cut=found.tasks.is_cut,
        )
