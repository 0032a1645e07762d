"""What is really so, worked out from the messages alone: who was heard when, who left, when the service could not hear.

Nothing here reads a host's row. The invariants compare this with what the registry made of it.
"""

from __future__ import annotations

import dataclasses

from inventory_service.errors import ConflictError, InvalidError
from inventory_service.registry.heartbeats import Renewal
from tests.simulation.machines import (
    BEAT,
    ENROL,
    GOODBYE,
    ROTATE,
    Admission,
    Farewell,
    Machine,
    Message,
    Reply,
    Rotation,
)

ALL = 0  # no stage has this id
LONG_FAILURE = 15.0  # after which the first heartbeat that is taken in excuses everybody


@dataclasses.dataclass(eq=False)
class Lease:
    """One enrolment, by true time. `kept_from`: the moment from which it is owed a whole ttl."""

    host_id: str
    machine: Machine
    heard: float
    heard_before: float
    kept_from: float
    is_approved: bool
    boot_id: str
    tokens: set[str] = dataclasses.field(default_factory=set)
    highest: int = -1
    earlier_boots: set[str] = dataclasses.field(default_factory=set)
    has_ended: bool = False
    is_in_conflict: bool = False
    is_expired_by_word: bool = False
    was_listed: bool = False
    last_state: str | None = None
    expired_at: float | None = None
    stale_at: float | None = None


class Truth:
    """`leases` by host id. `grace`: until when the service could not hear. `resumptions` by stage id or ALL: when a
    pause ended well. `failing_since`: since when heartbeats come and can't be written. `pause_limit`: how long pauses,
    resumptions and failure together may keep a host beyond its lease, in seconds.
    """

    def __init__(self, *, pause_limit: float) -> None:
        self.leases: dict[str, Lease] = {}
        self.grace = 0.0
        self.resumptions: dict[int, float] = {}
        self.failing_since: float | None = None
        self.rotations = 0
        self._pause_limit = pause_limit

    def take(self, message: Message, reply: Reply, t: float) -> None:
        """The service has decided about a message."""
        if message.kind == BEAT and not isinstance(reply, InvalidError):
            self._notice_failure(reply, t)
        if message.kind == ENROL and isinstance(reply, Admission):
            self._admit(message, reply, t)
        elif message.kind == BEAT and isinstance(reply, Renewal | ConflictError):
            self._renew(self.leases[_id(message.token)], message, reply, t)
        elif message.kind == ROTATE and isinstance(reply, Rotation):
            self.rotations += 1
        elif message.kind == GOODBYE and isinstance(reply, Farewell):
            self.end(_id(message.token))

    def _notice_failure(self, reply: Reply, t: float) -> None:
        if reply is None:
            self.failing_since = t if self.failing_since is None else self.failing_since
        elif self.failing_since is not None:
            if t - self.failing_since >= LONG_FAILURE:
                self.excuse(t)
            self.failing_since = None

    def end(self, host_id: str) -> None:
        """The host has left, by its own or somebody else's word."""
        if host_id in self.leases:  # else it had ended before
            self.leases[host_id].has_ended = True

    def excuse(self, t: float) -> None:
        """The service could not hear until now: silence counts anew, and whoever is listed keeps a whole ttl."""
        self.grace = t
        for lease in self.leases.values():
            if lease.was_listed:
                lease.kept_from = t

    def resume(self, t: float, stage_id: int) -> None:
        """A pause ended well: whoever is listed keeps a whole ttl, as far as its limit goes."""
        self.resumptions[stage_id] = t
        for lease in self.leases.values():
            if lease.was_listed and stage_id in (ALL, lease.machine.stage.id):
                lease.kept_from = max(lease.kept_from, self.excused_until(lease))

    def excused_until(self, lease: Lease) -> float:
        """Until when this host's silence was excused, however long ago it was heard."""
        resume = max(self.resumptions.get(ALL, 0.0), self.resumptions.get(lease.machine.stage.id, 0.0))
        return max(self.grace, min(resume, max(lease.heard, self.grace) + self._pause_limit))

    def silence(self, lease: Lease, t: float) -> float:
        """How long it has been silent without an excuse."""
        return t - max(lease.heard, self.excused_until(lease))

    def overtime(self, lease: Lease, t: float) -> float:
        """How long it has been silent beyond what a lease and all pauses together excuse."""
        return t - max(lease.heard, self.grace) - lease.machine.stage.ttl_seconds - self._pause_limit

    def forget_ended(self) -> None:
        """Ended leases that nothing refers to any more."""
        self.leases = {key: lease for key, lease in self.leases.items() if not lease.has_ended}

    def _admit(self, message: Message, reply: Admission, t: float) -> None:
        machine = message.machine
        for lease in self.leases.values():
            is_same = (lease.machine.name, lease.machine.stage.id) == (machine.name, machine.stage.id)
            lease.has_ended |= is_same and lease.host_id != reply.host_id
        known = self.leases.get(reply.host_id)
        if known is None:
            is_approved = not machine.stage.has_approval
            self.leases[reply.host_id] = Lease(reply.host_id, machine, t, t, t, is_approved, message.boot_id)
            self.leases[reply.host_id].tokens.add(reply.token)
            return
        if reply.token in known.tokens:  # the same request again changes nothing
            return
        known.tokens.add(reply.token)
        if message.boot_id != known.boot_id:
            known.earlier_boots.add(known.boot_id)
            known.highest = -1
        known.machine, known.boot_id = machine, message.boot_id
        known.earlier_boots.discard(message.boot_id)
        known.is_in_conflict = True  # perhaps: its first heartbeat says whether
        _hear(known, t)

    def _renew(self, lease: Lease, message: Message, reply: Reply, t: float) -> None:
        lease.is_in_conflict = isinstance(reply, ConflictError)
        if message.boot_id in lease.earlier_boots or (
            message.boot_id == lease.boot_id and message.seq <= lease.highest
        ):
            return
        if message.boot_id != lease.boot_id:
            lease.earlier_boots.add(lease.boot_id)
        lease.boot_id, lease.highest = message.boot_id, message.seq
        _hear(lease, t)


def _hear(lease: Lease, t: float) -> None:
    lease.heard_before, lease.heard, lease.kept_from = lease.heard, t, t
    lease.is_expired_by_word = False


def _id(token: str) -> str:
    return token.partition("_")[2].partition(".")[0]
