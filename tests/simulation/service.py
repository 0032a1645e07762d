"""The service as the simulator runs it: the real registry with a worker, on a real database."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator

import peewee

from inventory_service.database import database
from inventory_service.errors import CallboardError, InvalidError
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import enrolment, expiry_guard, hosts, liveness, self_check
from inventory_service.registry.heartbeat_intake import HeartbeatIntake
from inventory_service.registry.sweep import sweep
from tests.simulation.clock import VirtualClock
from tests.simulation.machines import (
    BEAT,
    ENROL,
    ROTATE,
    Admission,
    Farewell,
    Machine,
    Message,
    Reply,
    Rotation,
)

_KEY = "the simulator's"
_ROOM = 1_073_741_823  # SQLite's own default for max_page_count


@dataclasses.dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, all of them settings of the service."""

    sweep: float = 5.0
    self_check: float = 10.0
    pause_limit: float = 3600.0
    gone_after: float = 86400.0
    rotate_after: float = 6 * 3600.0


@dataclasses.dataclass(frozen=True)
class RacingJudge(liveness.Expiry):
    """Lets something happen after a sweep has read a host and before it writes it."""

    between: Callable[[liveness.Lease], None] = print

    def state(self, host: liveness.Lease, stage: liveness.Terms) -> str:
        """One of STATES, of the row as it was read."""
        self.between(host)
        return liveness.Expiry.state(self, host, stage)


class Service:
    """`is_up`: its processes run. `is_sweeping`: its worker does. `join_tokens`: by stage id."""

    def __init__(self, clock: VirtualClock, timing: Timing, source: random.Random, *, file: str) -> None:
        self.clock, self.timing, self.random = clock, timing, source
        self.is_up, self.is_sweeping, self.is_broken = True, True, False
        self.sweeps_at_once = 1
        self.claimed_at, self.has_swept = 0.0, False
        self.join_tokens: dict[int, str] = {}
        self.race: Callable[[liveness.Lease], None] | None = None
        self._locker = sqlite3.connect(file, isolation_level=None)
        self._own_token = ""
        self.intake = self._make_intake()
        database.pragma("busy_timeout", 0, permanent=True)

    @property
    def is_working(self) -> bool:
        """Whether the worker looks at its clock."""
        return self.is_up and self.is_sweeping

    def expiry(self) -> liveness.Expiry:
        """Who is live, at the service's wall time."""
        failing_since = self.intake.failing_since()
        return liveness.expiry(
            at=self.clock.now(), gone_after_seconds=self.timing.gone_after, failing_since=failing_since
        )

    def _make_intake(self) -> HeartbeatIntake:
        rotate_after = dt.timedelta(seconds=self.timing.rotate_after)
        return HeartbeatIntake(self.clock, gone_after_seconds=self.timing.gone_after, rotate_after=rotate_after)

    def start(self) -> None:
        """What `serve` does before it listens."""
        self.is_up = True
        self.intake = self._make_intake()
        if not self.is_broken:
            liveness.begin_grace(at=self.clock.now())
            self_check.forget()

    def lock(self) -> None:
        """Somebody else holds the database's write lock."""
        self._locker.execute("BEGIN IMMEDIATE")
        self.is_broken = True

    def fill(self) -> None:
        """The disk is full."""
        database.execute_sql(f"PRAGMA max_page_count = {database.execute_sql('PRAGMA page_count').fetchone()[0]}")
        self.is_broken = True

    def mend(self) -> None:
        """The database works again."""
        if self._locker.in_transaction:
            self._locker.execute("ROLLBACK")
        database.execute_sql(f"PRAGMA max_page_count = {_ROOM}")
        self.is_broken = False

    def close(self) -> None:
        """End what the simulation opened."""
        self._locker.close()

    def handle(self, messages: list[Message]) -> Iterator[tuple[Message, Reply]]:
        """Each request with its answer, in order; heartbeats in a row share a transaction, as in group commit."""
        for is_beat, run in itertools.groupby(messages, key=lambda message: message.kind == BEAT):
            batch = list(run)
            yield from self._renew(batch) if is_beat else ((message, self._admit(message)) for message in batch)

    def _renew(self, batch: list[Message]) -> Iterator[tuple[Message, Reply]]:
        """What is not acceptable is refused before the transaction, and harms nobody else in it."""
        beats, refused = [], []
        for message in batch:
            try:
                beats.append((message, _heartbeat(message).checked()))
            except InvalidError as error:
                refused.append((message, error))
        yield from refused
        told = [(message.token, beat) for message, beat in beats]
        try:
            answers: list[Reply] = list(self.intake.renew(told)) if told else []
        except peewee.OperationalError:
            answers = [None] * len(told)
        yield from zip([message for message, _ in beats], answers, strict=True)

    def _admit(self, message: Message) -> Reply:
        try:
            if message.kind == ROTATE:
                return Rotation(hosts.rotate(message.token, at=self.clock.now())[1])
            return self._enrol(message.machine, message) if message.kind == ENROL else self._end(message)
        except CallboardError as error:
            return error
        except peewee.OperationalError:
            return None

    def _enrol(self, machine: Machine, message: Message) -> Admission:
        keys = (machine.key,)
        request = enrolment.Enrolment(machine.name, boot_id=message.boot_id, host_keys=keys, nonce=message.nonce)
        token, peer = self.join_tokens[machine.stage.id], machine.address
        host, own = enrolment.enrol(token, request, peer=peer, expiry=self.expiry(), token_key=_KEY)
        return Admission(host.id, own)

    def _end(self, message: Message) -> Farewell:
        hosts.goodbye(hosts.authenticate(message.token), at=self.clock.now())
        return Farewell()

    def pause_and_sweep(self, at: dt.datetime) -> None:
        """The job of that name; some sweeps race with heartbeats or with one another."""
        self.claimed_at, expiry = self.clock.monotonic(), self.expiry()
        expiry_guard.step_pauses(expiry=expiry, bound_seconds=self.timing.pause_limit)
        expiry = self.expiry()
        if self.race is not None:
            known = {field.name: getattr(expiry, field.name) for field in dataclasses.fields(expiry)}
            expiry = RacingJudge(**known, between=self._between)
        sweep(expiry=expiry)
        self.has_swept = True

    def _between(self, host: liveness.Lease) -> None:
        race, self.race = self.race, None  # what happens in between does not race again
        try:
            if race is not None:
                race(host)
            for _ in range(self.sweeps_at_once - 1):
                sweep(expiry=self.expiry())
        finally:
            self.race = race

    def check_itself(self, at: dt.datetime) -> None:
        """The self-check's job, when its heartbeat gets through."""
        self._own_token = self._own_token or self_check.make_token()
        self_check.receive(self._own_token, at=at)
        self.intake.confirm()


def _heartbeat(message: Message) -> Heartbeat:
    facts = {f"fact_{number}": "x" * 250 for number in range(64)} if message.is_huge else None
    return Heartbeat(boot_id=message.boot_id, seq=message.seq, metrics={"host_time": message.host_time}, facts=facts)
