"""What must hold at every tick, whatever fails. docs/liveness.md says each of them in words, under the same name."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from inventory_service.models import Conflict, Host, Stage, Transition
from inventory_service.registry import expiry_guard, inventory, liveness, past
from inventory_service.registry.stages import list_stages
from tests.simulation.machines import LONGEST_BACKOFF
from tests.simulation.service import Service
from tests.simulation.truth import ALL, Lease, Truth

UNNOTICED_JUMP = _SLACK = 5.0  # a jump of the wall clock up to this goes unnoticed, by design
STALL = 30.0
_FLOOR, _SHARE = 3, 0.25  # of the pause, said again on purpose: the simulator must not believe the code
_THOROUGH_EVERY = 40
_COLUMNS = (
    Host.id,
    Host.stage,
    Host.name,
    Host.address,
    Host.port,
    Host.last_seen_at,
    Host.recorded_state,
    Host.stale_since,
    Host.gone_at,
    Host.conflict_code,
)


@dataclasses.dataclass
class Pause:
    """A pause as it is seen from outside, by true time. `worked`: how long the worker ran meanwhile."""

    began: float
    worked: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A broken promise; `lease` where it is about one host."""

    name: str
    words: str
    lease: Lease | None = None


class Invariants:
    """Made once for each simulation; `check` after every tick in which somebody can read the inventory."""

    def __init__(self, service: Service, truth: Truth, *, step: float) -> None:
        self.transitions: Counter[str] = Counter()
        self.listed: dict[int, set[str]] = {}
        self.holders: dict[tuple[int, str], str] = {}
        self.failing_since: float | None = None
        self.excused_pause_until = -math.inf
        self.pauses_begun = 0
        self._service, self._truth, self._step = service, truth, step
        self._pauses: dict[int, Pause] = {}
        self._open_until: dict[int, float] = {}
        self._generations: dict[int, int] = {}
        self._cursor = 0
        self._claimed = 0.0
        self._swept = 0.0
        self._ticks = 0

    def check(self, t: float) -> Iterator[Problem]:
        """The promises that are broken now."""
        self._ticks += 1
        stages, expiry = list_stages(), self._service.expiry()
        self._notice_stall()
        yield from self._check_pauses(stages, t)
        yield from self._check_history(t)
        self.holders.clear()
        rows = list(Host.select(*_COLUMNS).where(Host.gone_at.is_null()).namedtuples())
        for stage in stages:
            own = [row for row in rows if row.stage == stage.id]
            yield from self._check_stage(stage, own, expiry, t)
        self._swept = t if self._service.has_swept else self._swept
        self._service.has_swept = False

    def open_for_expiry(self, stage_id: int, until: float) -> None:
        """An operator or the pause's bound lets any number of hosts expire."""
        for key in (stage_id, ALL):
            self._open_until[key] = max(until, self._open_until.get(key, 0.0))

    def paused_since(self, stage_id: int) -> float | None:
        """When the pause of this stage, or of all, began; None when there is none. A failing service is one for all."""
        began = [self._pauses[key].began for key in (ALL, stage_id) if key in self._pauses]
        return min(
            [*began, *([] if self._truth.failing_since is None else [self._truth.failing_since])],
            default=None,
        )

    def _notice_stall(self) -> None:
        """Between two claims of the sweep lay more than its interval and the patience: silence counts anew."""
        claimed = self._service.claimed_at
        if claimed - self._claimed > self._service.timing.sweep + STALL + 0.001:
            self._truth.excuse(claimed)
        self._claimed = claimed

    # --- pauses ---

    def _check_pauses(self, stages: list[Stage], t: float) -> Iterator[Problem]:
        paused = {stage.id: stage.expiry_paused_at is not None for stage in stages}
        paused[ALL] = expiry_guard.pause_of_all().paused_at is not None
        longest = max(stage.ttl_seconds for stage in stages)
        ttls = {ALL: longest, **{stage.id: stage.ttl_seconds for stage in stages}}
        for key, is_paused in paused.items():
            pause = self._pauses.get(key)
            if is_paused and pause is None:
                self._pauses[key] = Pause(t)
                self.pauses_begun += 1
                yield from self._check_cause(key, t)
            elif pause is not None and is_paused:
                yield from self._check_bound(pause)
            elif pause is not None:
                self._end_pause(key, pause, ttls[key], t)

    def _check_bound(self, pause: Pause) -> Iterator[Problem]:
        pause.worked += self._step if self._service.has_swept else 0.0
        limit = self._service.timing.pause_limit + 2 * max(self._service.timing.sweep, self._step)
        if pause.worked > limit:
            yield Problem("a pause ends", f"it has lasted for {pause.worked:.0f} s of sweeping")

    def _end_pause(self, key: int, pause: Pause, ttl: float, t: float) -> None:
        del self._pauses[key]
        if t - pause.began >= self._service.timing.pause_limit - _SLACK:
            self._open_until[key] = t + 2 * ttl
        else:
            self._truth.resume(t, key)

    def _check_cause(self, key: int, t: float) -> Iterator[Problem]:
        """A pause has a reason: more than the floor are silent, or the service fails."""
        leases = [one for one in self._truth.leases.values() if key in (ALL, one.machine.stage.id)]
        silent = sum(self._is_silent(lease, t) for lease in leases)
        is_failing = self.failing_since is not None or t < self.excused_pause_until
        if silent <= _FLOOR and not is_failing:
            yield Problem("a pause has a cause", f"it began when {silent} hosts were silent")

    def _is_silent(self, lease: Lease, t: float) -> bool:
        if lease.expired_at is not None and t - lease.expired_at <= lease.machine.stage.ttl_seconds + self._step:
            return True
        late = liveness.late_after(lease.machine.stage).total_seconds()
        return not lease.has_ended and self._truth.silence(lease, t) >= late - _SLACK

    # --- history ---

    def _check_history(self, t: float) -> Iterator[Problem]:
        columns = (Transition.id, Transition.host, Transition.stage, Transition.from_state, Transition.to_state)
        query = Transition.select(*columns, Transition.reason_code).where(Transition.id > self._cursor)
        rows: list[Any] = list(query.order_by(Transition.id).namedtuples())
        for row in rows:
            self._cursor = row.id
            self.transitions[f"{row.from_state} → {row.to_state}"] += 1
            yield from self._check_row(row, t, is_over=_is_revived(row, rows))
        yield from self._check_crowd([row for row in rows if row.to_state == liveness.STALE], t)
        yield from self._check_generations(Counter(int(row.stage) for row in rows))

    def _check_row(self, row: Any, t: float, *, is_over: bool) -> Iterator[Problem]:
        lease = self._truth.leases.get(row.host)
        if lease is None:
            return
        if row.from_state != lease.last_state or row.from_state == row.to_state:
            said = f"{row.from_state} → {row.to_state} after {lease.last_state}"
            yield Problem("every transition is recorded once", said, lease)
        lease.last_state = row.to_state
        lease.expired_at = t if row.to_state == liveness.STALE and row.reason_code == "silent" and not is_over else None
        if row.to_state == liveness.STALE:  # since the sweep before, which may have been long ago, on a full disk
            lease.stale_at = min(self._swept, t - self._step)
        if row.reason_code == "silent":
            yield from self._check_silent(row.to_state, lease, t, is_over=is_over)
        elif row.to_state == liveness.GONE and not lease.has_ended:
            yield Problem("nobody is expelled", f"gone: {row.reason_code}", lease)

    def _check_silent(self, state: str, lease: Lease, t: float, *, is_over: bool) -> Iterator[Problem]:
        """Silence that counts lasted long enough; or readers have seen the host out already, and it is back."""
        if state == liveness.GONE:
            yield from self._check_given_up(lease, t)
            return
        needed = lease.machine.stage.ttl_seconds
        excused = self._truth.excused_until(lease)
        silence = (
            t - max(lease.heard_before, excused if excused < t else 0.0) if is_over else t - max(lease.heard, excused)
        )
        if silence < needed - _SLACK and self._has_heir(lease, t) and t - lease.heard >= needed - _SLACK:
            lease.is_expired_by_word = True  # its address was taken just before the grace of this very tick
        elif silence < needed - _SLACK and lease.was_listed:
            yield Problem("nobody expires early", f"{state} after {silence:.0f} s of silence that counts", lease)

    def _check_given_up(self, lease: Lease, t: float) -> Iterator[Problem]:
        """It was stale, or pending, for long enough, whatever happened to the service meanwhile; and no longer."""
        lease.has_ended = True
        ttl, needed = lease.machine.stage.ttl_seconds, self._service.timing.gone_after
        since = lease.heard if lease.stale_at is None else max(lease.heard, lease.stale_at - ttl)
        if t - since < needed - _SLACK:
            yield Problem("nobody expires early", f"gone after {t - since:.0f} s", lease)

    def _has_heir(self, lease: Lease, t: float) -> bool:
        """Whether another host was heard at its address in this tick."""
        others = (one for one in self._truth.leases.values() if one is not lease and one.heard == t)
        return any(one.machine.address == lease.machine.address for one in others)

    def _check_crowd(self, rows: list[Any], t: float) -> Iterator[Problem]:
        """No more expire within one ttl than the pause's rule allows."""
        for stage_id in {row.stage for row in rows}:
            if t <= max(self._open_until.get(key, -1.0) for key in (stage_id, ALL)):
                continue
            present = (Host.stage == stage_id) & Host.gone_at.is_null() & Host.conflict_code.is_null()
            listed = Host.select().where(present & (Host.recorded_state == liveness.LIVE)).count()
            expired = sum(self._has_just_expired(lease, stage_id, t) for lease in self._truth.leases.values())
            if expired > max(_FLOOR, math.ceil(_SHARE * (listed + expired))):
                yield Problem("no mass expiry", f"{expired} of {listed + expired} hosts expired within one ttl")

    def _has_just_expired(self, lease: Lease, stage_id: int, t: float) -> bool:
        ttl = lease.machine.stage.ttl_seconds - self._step
        is_own = lease.machine.stage.id == stage_id and not lease.has_ended
        if not is_own or lease.expired_at is None or lease.is_in_conflict:
            return False
        is_beyond_pauses = self._truth.overtime(lease, lease.expired_at) > -_SLACK
        return t - lease.expired_at < ttl and not is_beyond_pauses

    def _check_generations(self, counts: Counter[int]) -> Iterator[Problem]:
        found: Any = Stage.select(Stage.id, Stage.generation).tuples()
        for stage_id, generation in found:
            before = self._generations.get(stage_id, 0)
            if generation != before + counts[stage_id]:
                said = f"generation {before} → {generation} with {counts[stage_id]} transitions"
                yield Problem("every transition is recorded once", said)
            self._generations[stage_id] = generation

    # --- inventory ---

    def _check_stage(self, stage: Stage, rows: list[Any], expiry: liveness.Expiry, t: float) -> Iterator[Problem]:
        listed = [row for row in rows if expiry.is_listed(row, stage)]
        self.listed[stage.id] = {row.name for row in listed}
        ids = {row.id for row in listed}
        self.holders.update(((stage.id, mark), row.id) for row in listed for mark in (row.name, row.address))
        yield from _check_unique(listed)
        for lease in self._truth.leases.values():
            if lease.machine.stage.id == stage.id:
                yield from self._check_lease(lease, lease.host_id in ids, t)
                lease.was_listed = lease.host_id in ids
        if self._service.has_swept:
            yield from self._check_recorded(stage, rows, expiry)
        if self._ticks % _THOROUGH_EVERY == 0:
            yield from _check_readers(stage, self.listed[stage.id], expiry)

    def _check_lease(self, lease: Lease, is_listed: bool, t: float) -> Iterator[Problem]:
        if is_listed and lease.has_ended:
            yield Problem("who left is out", "it is listed after it left", lease)
        elif is_listed and not lease.is_approved:
            yield Problem("pending hosts are out", "it is listed before its approval", lease)
        elif is_listed:
            yield from self._check_deadline(lease, t)
        elif self._must_be_listed(lease, t):
            words = f"it was heard {t - lease.heard:.0f} s ago, and is not listed"
            yield Problem("no live host is out", words, lease)

    def _must_be_listed(self, lease: Lease, t: float) -> bool:
        """Within its ttl, or kept by a pause that began before its lease ran out."""
        is_out = lease.has_ended or lease.is_in_conflict or lease.machine.is_cloned or not lease.is_approved
        if is_out or lease.is_expired_by_word:
            return False
        end = lease.kept_from + lease.machine.stage.ttl_seconds - _SLACK
        paused = self.paused_since(lease.machine.stage.id)
        is_kept = paused is not None and paused <= end and lease.was_listed
        is_over = paused is None or t - paused >= self._service.timing.pause_limit - _SLACK
        return t < end or (is_kept and not is_over and self._truth.overtime(lease, t) < -_SLACK)

    def _check_deadline(self, lease: Lease, t: float) -> Iterator[Problem]:
        """Who is silent for longer than ttl + sweep is listed only in a pause that began before the lease ran out, and
        by all pauses together no longer than their limit.
        """
        if self._truth.overtime(lease, t) > max(self._service.timing.sweep, _SLACK):
            words = f"pauses have kept it since it was heard {t - lease.heard:.0f} s ago"
            yield Problem("no silent host is in", words, lease)
        silence, ttl = self._truth.silence(lease, t), lease.machine.stage.ttl_seconds
        over = silence - ttl - max(self._service.timing.sweep, _SLACK)
        if over <= 0:
            return
        paused = self.paused_since(lease.machine.stage.id)
        if paused is None or t - paused < over:
            words = f"it has been silent for {silence:.0f} s" + ("" if paused is None else ", and the pause is younger")
            yield Problem("no silent host is in", words, lease)

    def _check_recorded(self, stage: Stage, rows: list[Any], expiry: liveness.Expiry) -> Iterator[Problem]:
        """After a sweep, what readers compute is what the history says."""
        for row in rows:
            state = expiry.state(row, stage)
            if state in (liveness.STALE, liveness.GONE) and state != row.recorded_state:
                yield Problem(
                    "every transition is recorded once", f"{state} is not recorded", self._truth.leases[row.id]
                )

    def is_back_within(self, stage: Stage) -> float:
        """How soon a healthy machine is listed, whatever was before: its wait, its backoff, an enrolment, a beat."""
        return 2 * stage.interval_seconds + LONGEST_BACKOFF + 2 * _SLACK + 4 * self._step


def _is_revived(row: Any, rows: list[Any]) -> bool:
    return any(other.host == row.host and other.id > row.id and other.to_state == liveness.LIVE for other in rows)


def _check_unique(listed: list[Any]) -> Iterator[Problem]:
    for what in ("address", "name"):
        counts = Counter((getattr(row, what), row.port if what == "address" else 0) for row in listed)
        for (value, _), count in counts.items():
            if count > 1:
                yield Problem(f"no duplicate {what}", f"{value} is listed {count} times")


def _check_readers(stage: Stage, listed: set[str], expiry: liveness.Expiry) -> Iterator[Problem]:
    """The inventory and the history of this very moment name the same hosts."""
    rendered = set(inventory.render(stage, expiry=expiry)["_meta"]["hostvars"])
    if rendered != listed:
        yield Problem("all readers agree", f"the inventory differs by {sorted(rendered ^ listed)}")
    newest = Transition.select().where(Transition.stage == stage).order_by(Transition.at.desc()).first()
    to_come = Conflict.select().where((Conflict.since > expiry.at) | (Conflict.until > expiry.at)).exists()
    if newest is None or expiry.at < newest.at or to_come:  # the clock was set back: this hour's history is yet to come
        return
    then = past.states_at(stage, expiry.at, expiry=expiry, kept_days=90)
    apart = past.conflicts_at(stage, expiry.at)
    remembered = {host.name for host, state in then.items() if state == liveness.LIVE and host.id not in apart}
    if remembered != listed:
        yield Problem("all readers agree", f"the history differs by {sorted(remembered ^ listed)}")
