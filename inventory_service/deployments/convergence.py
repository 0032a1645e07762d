"""Bringing live hosts that are out of date to their stage's desired release, without anyone asking.

Hosts that boot, that joined during a rollout or came back are gathered into one run per stage. Whom the run works on
and which release it brings is settled when it starts, not when it was queued: a rollout in between would make both
wrong. A host that fails is tried again with growing pauses, then quarantined and shown, so that a bad release does not
loop for ever.
"""

from __future__ import annotations

import datetime as dt

from peewee import fn

from inventory_service.codes import results, statuses
from inventory_service.codes.host import Quarantine
from inventory_service.codes.run import End
from inventory_service.database import database
from inventory_service.deployments import locks
from inventory_service.deployments.executor.targets import Targets
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.runs import history
from inventory_service.deployments.runs.outcome import RunEndsError
from inventory_service.events import SERVICE, ActorKind
from inventory_service.models import Host, Run, RunHost, Stage, Transition
from inventory_service.reasons import because
from inventory_service.records import hosts as records
from inventory_service.registry import hosts, liveness, stages
from inventory_service.registry import inventory as rendering
from inventory_service.wording import run as wording

_FIRST_PAUSE_SECONDS = 20
_MOST_ATTEMPTS = 4
_MOST_HOSTS = 200
_LONGEST_WINDOWS = 6


def converge_all(*, expiry: liveness.Expiry, window_seconds: float = 0) -> list[int]:
    """Queue a converge run for each stage that needs one; returns the runs' numbers.

    Where hosts have just become live, more of them are waited for: until nobody came for `window_seconds`, and no host
    longer than six times that.
    """
    window = dt.timedelta(seconds=window_seconds)
    found = [_converge(stage, expiry=expiry, window=window) for stage in stages.list_stages()]
    return [run.id for run in found if run is not None]


def _converge(stage: Stage, *, expiry: liveness.Expiry, window: dt.timedelta) -> Run | None:
    if (
        not stage.has_convergence
        or stage.desired_release_number is None
        or is_kept_away(stage)
        or expiry.is_paused(stage)
    ):
        return None
    due = hosts_due(stage, expiry=expiry)
    if not due or not _is_gathered(stage, due, at=expiry.at, window=window):
        return None
    request = RunRequest(kind=statuses.CONVERGE, comment=f"{len(due)} host{'s' if len(due) != 1 else ''} out of date")
    return launch.launch(stage, request, actor=SERVICE, expiry=expiry)


def is_kept_away(stage: Stage) -> bool:
    """Whether a person's lock, or a run that waits or works, keeps convergence away."""
    return locks.find(stage, locks.BY_PERSON) is not None or locks.active_runs(stage.id).exists()


def _is_gathered(stage: Stage, due: list[Host], *, at: dt.datetime, window: dt.timedelta) -> bool:
    longest = window * _LONGEST_WINDOWS
    came = (Transition.stage == stage) & (Transition.to_state == liveness.LIVE) & (Transition.at > at - longest)
    query = Transition.select(Transition.host, fn.MAX(Transition.at).alias("at")).where(came).group_by(Transition.host)
    arrivals = {row.host_id: row.at for row in query}
    moments = [arrivals.get(host.id) for host in due]
    recent = [moment for moment in moments if moment is not None]
    return len(recent) < len(moments) or max(recent) <= at - window


def hosts_out_of_date(stage: Stage, *, expiry: liveness.Expiry) -> list[Host]:
    """Live hosts that do not run what they should, leaving out the quarantined and the draining ones."""
    found = hosts.list_out_of_date(stage, hosts.desired_release(stage), expiry=expiry)
    return [host for host in found if host.quarantine_code is None and not host.is_draining]


def hosts_due(stage: Stage, *, expiry: liveness.Expiry) -> list[Host]:
    """Those of them whose pause is over, at most as many as one run takes."""
    found = hosts_out_of_date(stage, expiry=expiry)
    return [host for host in found if host.converge_after is None or host.converge_after <= expiry.at][:_MOST_HOSTS]


# when a run's turn has come


def chooses_late(run: Run) -> bool:
    """Whether the run's hosts are settled here, at its start."""
    return run.kind == statuses.CONVERGE and run.limit is None and run.repeat_of is None


def targets(run: Run, *, expiry: liveness.Expiry) -> Targets:
    """The inventory of this moment and the hosts that are out of date now. Raises RunEndsError where there is nothing
    to do any more, or nothing that may be done now.
    """
    stage, is_automatic = run.stage, _is_automatic(run)
    if is_automatic and expiry.is_paused(stage):
        raise RunEndsError(statuses.CANCELED, End.EXPIRY_PAUSED)
    find = hosts_due if is_automatic else hosts_out_of_date
    chosen = tuple(host for host in find(stage, expiry=expiry) if host.name not in run.exclude)
    if not chosen:
        raise RunEndsError(statuses.CANCELED, End.NOBODY_OUT_OF_DATE)
    if is_automatic:
        count_attempts(chosen, at=expiry.at)
    return Targets(rendering.render(stage, expiry=expiry), chosen)


def _is_automatic(run: Run) -> bool:
    return bool(run.created_by_kind == ActorKind.SERVICE)


def count_attempts(chosen: tuple[Host, ...], *, at: dt.datetime) -> None:
    """The pause doubles with each attempt; after the last one that fails the host is quarantined."""
    for host in chosen:
        attempts = host.converge_attempts + 1
        pause = dt.timedelta(seconds=_FIRST_PAUSE_SECONDS * 2 ** min(attempts, 8))
        records.count_converge_attempt(host, converge_after=at + pause)


# when it has ended


def conclude(run: Run) -> list[str]:
    """After a run that brings a release: quarantine hosts whose attempts are used up; returns their names.

    Those that it did not come to get their attempt back, unless it came to nobody: a source that can't be read would be
    tried without a pause. Those that convergence had given up and that run what they
    should now are let go.
    """
    if run.kind not in statuses.RELEASE_KINDS or run.is_check:
        return []
    rows = list(RunHost.select(RunHost, Host).join(Host).where(RunHost.run == run))
    with database.atomic():
        if run.status == statuses.SUCCESSFUL:
            reached = [row.host for row in rows if row.status in (results.OK, results.CHANGED)]
            given_up = [host for host in reached if host and host.quarantine_code == Quarantine.CONVERGENCE]
            records.release_from_quarantine(given_up, actor=SERVICE, at=run.ended_at)
        if run.kind != statuses.CONVERGE or not _is_automatic(run):
            return []
        if any(row.status in results.WORKED_ON for row in rows):
            missed = [row.host_id for row in rows if row.status not in results.WORKED_ON]
            records.give_back_converge_attempt([host_id for host_id in missed if host_id is not None])
        bad = (results.FAILED, results.UNREACHABLE, *([] if run.status == statuses.CANCELED else [results.LOST]))
        return _give_up(run, [row for row in rows if row.status in bad])


def _give_up(run: Run, rows: list[RunHost]) -> list[str]:
    known = [(row.host, wording.host_note(row.message_code, row.message_params)) for row in rows if row.host]
    hopeless = [(host, message) for host, message in known if host.converge_attempts >= _MOST_ATTEMPTS]
    for host, message in hopeless:
        failure = history.failure_of(run, host.name) or message
        params = {"attempts": _MOST_ATTEMPTS, "release": run.release_number, "run": run.id, "words": failure or None}
        why = because(Quarantine.CONVERGENCE, **params)
        records.quarantine(host, why, actor=SERVICE, at=run.ended_at)
    return [host.name for host, _ in hopeless]
