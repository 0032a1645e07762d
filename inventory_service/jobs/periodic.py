"""The periodic jobs. Each tick claims a row first, so that any number of workers may run them at once."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import logging
import platform
import threading
from collections.abc import Callable

from inventory_service.adapters.ec2 import Cloud
from inventory_service.automation import notifications, schedules, webhooks
from inventory_service.clock import Clock
from inventory_service.database import database
from inventory_service.deployments import convergence
from inventory_service.deployments.executor import recovery
from inventory_service.deployments.runs import external, retention
from inventory_service.jobs.self_check import SelfCheck
from inventory_service.models import JobTick
from inventory_service.registry import liveness
from inventory_service.registry.expiry_guard import step_pauses
from inventory_service.registry.retention import prune
from inventory_service.registry.sweep import sweep
from inventory_service.scaling import loop, windows
from inventory_service.scaling.lifecycle import actions, hooks
from inventory_service.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_STALL = dt.timedelta(seconds=30)
_CLOCK_JUMP_SECONDS = 5.0
_SHORTEST_STALL_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Something to do every `seconds`; `help` says what. `work` gets the time of the tick. One that waits for others'
    servers (`is_slow`) goes on beside the rest, so that it can't hold up the sweep. One whose work lies on each machine
    (`is_local`) ticks on each of them, the others on whichever comes first.
    """

    title: str
    seconds: float
    work: Callable[[dt.datetime], object]
    help: str = ""
    is_slow: bool = False
    is_local: bool = False

    @property
    def name(self) -> str:
        """The key of its row: who moves that forward owns the tick."""
        return f"{self.title} on {platform.node()}" if self.is_local else self.title


def jobs(settings: Settings, *, service_url: str = "") -> tuple[Job, ...]:
    """The table of periodic jobs."""

    def expiry(at: dt.datetime) -> liveness.Expiry:
        return liveness.expiry(at=at, gone_after_seconds=settings.gone_after_seconds)

    def pause_and_sweep(at: dt.datetime) -> None:
        step_pauses(expiry=expiry(at), bound_seconds=settings.expiry_pause_limit_seconds)
        sweep(expiry=expiry(at))

    def forget(at: dt.datetime) -> None:
        prune(at=at, transition_days=settings.transition_days, gone_days=settings.gone_days)
        with database.atomic():
            windows.prune(at=at)
            loop.prune(at=at, days=settings.transition_days)
            actions.prune(at=at, days=settings.transition_days)
            notifications.prune(at=at, days=settings.transition_days)
            webhooks.prune(at=at, days=settings.transition_days)
        recovery.erase_leftovers(settings)

    cloud_of = functools.cache(Cloud)

    def converge(at: dt.datetime) -> None:
        convergence.converge_all(expiry=expiry(at), window_seconds=settings.converge_window_seconds)

    return (
        Job(
            "sweep",
            settings.sweep_seconds,
            pause_and_sweep,
            "Records who fell silent; pauses expiry where too many did.",
        ),
        Job(
            "self-check",
            settings.self_check_seconds,
            SelfCheck(service_url or settings.own_url).beat,
            "Sends the service a heartbeat by the way that hosts take: whether it can hear at all.",
        ),
        Job("converge", settings.converge_seconds, converge, "Queues a run for each stage with hosts out of date."),
        Job("metrics", 60.0, lambda at: windows.sample(expiry=expiry(at)), "Keeps each stage's metrics."),
        Job(
            "scale",
            settings.scale_seconds,
            lambda at: loop.scale_all(cloud_of, expiry=expiry(at)),
            "Decides how many machines there are to be, and adds or removes them.",
            is_slow=True,
        ),
        Job(
            "hooks",
            settings.hook_seconds,
            lambda at: hooks.answer_all(cloud_of, expiry=expiry(at)),
            "Answers the lifecycle hooks of Auto Scaling groups.",
            is_slow=True,
        ),
        Job("schedule", 5.0, lambda at: schedules.run_due(at=at), "Starts the runs that a clock asks for."),
        Job(
            "notify",
            2.0,
            lambda at: notifications.tell(settings=settings, at=at),
            "Makes messages of events and sends them.",
            is_slow=True,
        ),
        Job("prune", 60.0, forget, "Forgets transitions, events, hosts, metrics and messages that are too old."),
        Job(
            "external runs",
            30.0,
            lambda at: external.lose_silent(at=at),
            "Marks runs that are executed elsewhere as lost when nothing is heard of them.",
        ),
        Job("prune runs", 60.0, lambda at: retention.prune_runs(settings, at=at), "Removes events of old runs."),
        Job(
            "prune folders",
            300.0,
            lambda _: retention.clear_folders(settings),
            "Removes logs of old runs, on the machine that executed them.",
            is_local=True,
        ),
        Job(
            "recover",
            5.0,
            lambda at: recovery.recover_lost(settings, at=at),
            "Ends what a dead executor of this machine left behind, and marks its run as lost.",
            is_local=True,
        ),
    )


class Ticker:
    """A thread that looks at the table a few times a second and does what is due."""

    def __init__(self, table: tuple[Job, ...], clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="ticker", daemon=True)
        self._slow: dict[str, threading.Thread] = {}

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the job in progress, then end."""
        self._stop.set()
        self._thread.join(timeout=3)

    def _loop(self) -> None:
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        while not self._stop.wait(_LOOK_SECONDS):
            now, ticked = self._clock.now(), self._clock.monotonic()
            jump = (now - wall).total_seconds() - (ticked - monotonic)
            if abs(jump) > _CLOCK_JUMP_SECONDS and not _give_grace(jump, at=now):
                continue  # the next look sees the same jump
            wall, monotonic = now, ticked
            self._tick(now)
        database.close()

    def _tick(self, at: dt.datetime) -> None:
        for job in self._table:
            try:
                if not self._is_busy(job) and claim(job, at=at):
                    self._start(job, at)
            except Exception:
                log.exception("the job %s failed; it runs again in %.0f s", job.name, job.seconds)

    def _is_busy(self, job: Job) -> bool:
        return job.name in self._slow and self._slow[job.name].is_alive()

    def _start(self, job: Job, at: dt.datetime) -> None:
        if not job.is_slow:
            self._do(job, at)
            return
        self._slow[job.name] = threading.Thread(target=self._do_apart, args=(job, at), name=job.name, daemon=True)
        self._slow[job.name].start()

    def _do(self, job: Job, at: dt.datetime) -> None:
        job.work(at)
        JobTick.update(last_finished_at=self._clock.now()).where(JobTick.name == job.name).execute()

    def _do_apart(self, job: Job, at: dt.datetime) -> None:
        try:
            self._do(job, at)
        except Exception:
            log.exception("the job %s failed; it runs again in %.0f s", job.name, job.seconds)
        finally:
            database.close()


def _give_grace(jump: float, *, at: dt.datetime) -> bool:
    """Give every host a fresh lease; False when the database did not take it."""
    log.warning("the wall clock jumped by %.0f s; hosts get a fresh lease", jump)
    try:
        liveness.begin_grace(at=at, jump_seconds=jump)
    except Exception:
        log.exception("the fresh lease could not be written; it is tried again")
        return False
    return True


def _stall() -> dt.timedelta:
    """How much too late a sweep is a stall."""
    patience = liveness.patience_seconds(_STALL.total_seconds(), share=0.5)
    return dt.timedelta(seconds=max(_SHORTEST_STALL_SECONDS, patience))


def claim(job: Job, *, at: dt.datetime) -> bool:
    """Take this tick of the job: True for exactly one of those who ask. A sweep that was stalled gives grace."""
    following = at + dt.timedelta(seconds=job.seconds)
    JobTick.insert(name=job.name, next_at=at).on_conflict_ignore().execute()
    due = JobTick.get(JobTick.name == job.name).next_at
    was_set_back = due > following + _STALL
    if due > at and not was_set_back:
        return False
    same = (JobTick.name == job.name) & (JobTick.next_at == due)
    if JobTick.update(next_at=following).where(same).execute() != 1:
        return False
    if job.name == "sweep" and at - due > _stall():
        log.warning("the sweep was stalled for %.0f s; hosts get a fresh lease", (at - due).total_seconds())
        liveness.begin_grace(at=at)
    return True
