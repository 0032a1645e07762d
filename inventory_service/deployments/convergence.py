"""Bringing live hosts that are behind to their stage's desired release, without anyone asking.

Hosts that boot, that joined during a rollout or came back are gathered into one run per stage. A host that fails
is tried again with growing pauses, then quarantined and shown, so that a bad release does not loop for ever.
"""

from __future__ import annotations

import datetime as dt

from inventory_service import audit
from inventory_service.deployments import locks, outcome, statuses
from inventory_service.deployments.requests import RunRequest, request_run
from inventory_service.models import Host, Run, RunHost, Stage
from inventory_service.registry import hosts, liveness, stages

_FIRST_PAUSE_SECONDS = 20
_MOST_ATTEMPTS = 4
_MOST_HOSTS = 200


def converge_all(*, judge: liveness.Judge) -> list[int]:
    """Queue a converge run for each stage that needs one; returns the runs' numbers."""
    return [run.id for stage in stages.list_stages() if (run := _converge(stage, judge=judge)) is not None]


def _converge(stage: Stage, *, judge: liveness.Judge) -> Run | None:
    if not stage.has_convergence or stage.desired_release_number is None or is_held(stage) or judge.is_frozen(stage):
        return None
    behind = [host for host in hosts_behind(stage, judge=judge) if _is_due(host, at=judge.at)][:_MOST_HOSTS]
    if not behind:
        return None
    for host in behind:
        _count_attempt(host, at=judge.at)
    names = ",".join(host.name for host in behind)
    request = RunRequest(kind=statuses.CONVERGE, limit=names, comment=f"{len(behind)} hosts behind")
    return request_run(stage, request, actor=audit.SERVICE, at=judge.at)[0]


def is_held(stage: Stage) -> bool:
    """Whether a person's lock, or a run that waits or works, keeps convergence away."""
    return locks.find(stage, locks.BY_PERSON) is not None or locks.active_runs(stage.id).exists()


def hosts_behind(stage: Stage, *, judge: liveness.Judge) -> list[Host]:
    """Live hosts that do not run what they should, leaving out the quarantined and the draining ones."""
    desired = hosts.desired_release(stage)
    return [
        host
        for host in hosts.live_hosts(stage, judge=judge)
        if not hosts.is_converged(host, desired) and not host.is_quarantined and not host.is_draining
    ]


def _is_due(host: Host, *, at: dt.datetime) -> bool:
    return host.converge_after is None or host.converge_after <= at


def _count_attempt(host: Host, *, at: dt.datetime) -> None:
    """The pause doubles with each attempt; after the last one the next look quarantines the host."""
    attempts = host.converge_attempts + 1
    pause = dt.timedelta(seconds=_FIRST_PAUSE_SECONDS * 2 ** min(attempts, 8))
    Host.update(converge_attempts=attempts, converge_after=at + pause).where(Host.id == host.id).execute()


def quarantine_hopeless(run: Run) -> list[str]:
    """After a converge run: quarantine the hosts that have used up their attempts; returns their names."""
    rows = RunHost.select(RunHost, Host).join(Host).where(RunHost.run == run)
    failed = [row for row in rows if row.status in (outcome.FAILED, outcome.UNREACHABLE)]
    hopeless = [row.host for row in failed if row.host is not None and row.host.converge_attempts >= _MOST_ATTEMPTS]
    for host in hopeless:
        reason = f"{_MOST_ATTEMPTS} attempts to bring it to release {run.release_number} failed; see run {run.id}"
        Host.update(is_quarantined=True, quarantine_reason=reason).where(Host.id == host.id).execute()
    return [host.name for host in hopeless]
