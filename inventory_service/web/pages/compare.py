"""What a run froze, how it is repeated, and how two runs differ; a stage's effective variables."""

from __future__ import annotations

from typing import Any

from flask import Response, make_response, redirect, render_template, request, url_for

from inventory_service.deployments import variables
from inventory_service.deployments.comparing import run_diff, task_diff
from inventory_service.deployments.launching import requests
from inventory_service.deployments.runs import history, snapshot
from inventory_service.errors import InvalidError, NotFoundError
from inventory_service.models import Run
from inventory_service.web import answers, auth, context
from inventory_service.web.pages import run_view
from inventory_service.web.pages.common import pages

_MOST_HOSTS = 300  # that differ, listed on the page
_MOST_RESULTS, _FEWEST_RESULTS = 4000, 5  # of all tasks, and of each one


@pages.get("/stages/<project>/<stage>/variables")
def stage_variables(project: str, stage: str) -> str:
    """What a run of now would see."""
    row = auth.reach_stage(project, stage)
    found = variables.effective(variables.of_stage(row))
    changed = variables.changed_since_release(row)
    return render_template("stage_variables.html", stage=answers.Stage.of(row), variables=found, changed=changed)


@pages.get("/runs/<int:run>/snapshot")
def run_snapshot(run: int) -> str:
    """Everything that the run froze. Raises NotFoundError before it has."""
    row = auth.reach_run(requests.get(run))
    if row.snapshot is None:
        raise NotFoundError(f"Run {row.id} has frozen nothing; it is {row.status}.")
    found = snapshot.effective_variables(row) if snapshot.is_full(row) else None
    hosts = [run_view.result(one) for one in history.hosts_of_run(row)]
    shown, stage = answers.RunWithHosts.with_hosts(row, ()), answers.Stage.of(row.stage)
    return render_template("run_snapshot.html", run=shown, stage=stage, variables=found, hosts=hosts)


@pages.get("/runs/<int:run>/compare")
def choose_comparison(run: int) -> Response:
    """?with= a run's number: go to the comparison, the older run first."""
    row = auth.reach_run(requests.get(run))
    number = request.args.get("with", "").strip()
    if not (number.isascii() and number.isdecimal() and len(number) < 19):  # noqa: PLR2004
        raise InvalidError.at("with", f"{number[:40]!r} is no number of a run.")
    other = auth.reach_run(requests.get(int(number)))
    first, second = sorted((row.id, other.id))
    return make_response(redirect(url_for("pages.diff_runs", run=first, other=second)))


@pages.get("/runs/<int:run>/diff/<int:other>")
def diff_runs(run: int, other: int) -> str:
    """The two runs side by side."""
    before, after = (auth.reach_run(requests.get(number)) for number in (run, other))
    found = run_diff.compare(before, after, context.services().settings)
    sides = {"before": answers.Run.of(before), "after": answers.Run.of(after)}
    return render_template("run_diff.html", found=found, **sides, tasks=_tasks(found), most_hosts=_MOST_HOSTS)


def _tasks(found: run_diff.RunDiff) -> list[dict[str, Any]]:
    """Each task with the hosts to list, those with another outcome first, and both times as shares of the longest."""
    sides = [side for task in found.tasks.items for side in (task.before, task.after) if side is not None]
    longest = max((side.longest_seconds or 0 for side in sides), default=0) or 1
    most = max(_FEWEST_RESULTS, _MOST_RESULTS // max(len(found.tasks.items), 1))
    return [_task(task, longest, most) for task in found.tasks.items]


def _task(task: task_diff.TaskDiff, longest: float, most: int) -> dict[str, Any]:
    hosts = sorted(task.hosts, key=lambda one: not one.is_other)
    return {
        "task": task,
        "hosts": hosts[:most],
        "before": _share(task.before, longest),
        "after": _share(task.after, longest),
    }


def _share(side: task_diff.Side | None, longest: float) -> float:
    return round((side.longest_seconds or 0) / longest * 100, 1) if side is not None else 0.0


def comparable(row: Run, *, most: int = 6) -> list[Run]:
    """Runs that one would want to compare this one with: what it repeats, and those before it on its stage."""
    before = requests.list_runs(stage=row.stage, before=row.id, limit=most)
    is_listed = any(one.id == row.repeat_of for one in before)
    repeated = Run.get_or_none(Run.id == row.repeat_of) if row.repeat_of and not is_listed else None
    return [repeated, *before[: most - 1]] if repeated is not None else before
