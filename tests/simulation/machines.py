"""Virtual hosts. Each behaves as the agent does: enrol, beat when told to, try again with backoff, say goodbye."""

from __future__ import annotations

import base64
import dataclasses
import random
import struct
from collections import deque

from inventory_service.errors import ConflictError, GoneError, InvalidError, UnauthorizedError
from inventory_service.models import Stage
from inventory_service.registry.heartbeats import Renewal

ENROL, BEAT, ROTATE, GOODBYE = "enrol", "heartbeat", "rotate", "goodbye"
UNREPEATED = (ENROL, ROTATE)  # no HTTP client or proxy sends a POST twice by itself, and these are not ordered
_REQUEST_SECONDS = 5.0
LONGEST_BACKOFF = 30.0
_STORY = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One request on its way. A copy or a replay of it is the same object again."""

    kind: str
    machine: Machine
    token: str
    boot_id: str
    seq: int
    host_time: float
    nonce: str | None = None
    is_huge: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The answer to an enrolment."""

    host_id: str
    token: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rotation:
    """The answer to a wish for a new token."""

    token: str


@dataclasses.dataclass(frozen=True, slots=True)
class Farewell:
    """The answer to a goodbye."""


Reply = Renewal | Admission | Rotation | Farewell | Exception | None


@dataclasses.dataclass(eq=False)
class Machine:
    """One virtual host. `clock_error`: seconds by which its own clock is wrong. `host_id`: who it is to the service."""

    name: str
    stage: Stage
    address: str
    key: str
    random: random.Random
    clock_error: float = 0.0
    is_up: bool = False
    is_cloned: bool = False
    has_left: bool = False
    is_huge: bool = False
    wants_token: bool = False
    boot_id: str = ""
    booted_at: float = 0.0
    next_at: float = 0.0
    token: str = ""
    host_id: str = ""
    has_nonce: bool = True
    asked: Message | None = None
    story: deque[str] = dataclasses.field(default_factory=lambda: deque(maxlen=_STORY))
    _ceiling: float = 1.0

    def tell(self, t: float, words: str) -> None:
        """Remember it for the report of a violation."""
        self.story.append(f"{t / 60:9.2f} min  {words}")

    def boot(self, t: float, *, after: float = 0.0) -> None:
        """Come up. A machine that was enrolled before goes on with its token."""
        self.is_up, self.has_left, self._ceiling = True, False, 1.0
        self.boot_id = f"{self.random.getrandbits(64):016x}"
        self.booted_at, self.next_at, self.asked = t, t + after, None
        self.tell(t, f"boots as {self.boot_id}")

    def die(self, t: float) -> None:
        """Go silent without a word."""
        self.is_up = False
        self.tell(t, "dies")

    def move(self, t: float, address: str) -> None:
        """Get another address, and forget who it was: its image or its lease of the address was renewed."""
        self.address, self.token, self.host_id, self.next_at = address, "", "", t
        self.tell(t, f"moves to {address}")

    def clone(self, t: float) -> Machine:
        """A copy of this machine's disk boots elsewhere."""
        twin = dataclasses.replace(self, story=deque(maxlen=_STORY), is_cloned=True, is_up=False)
        self.is_cloned = True
        self.tell(t, "is cloned")
        twin.boot(t)
        return twin

    def request(self, t: float) -> Message | None:
        """What it sends now, or None. Until an answer comes, it will try again."""
        if not self.is_up or self.has_left or t < self.next_at:
            return None
        self.next_at = t + _REQUEST_SECONDS + self.random.uniform(0, self._ceiling)
        self._ceiling = min(self._ceiling * 2, LONGEST_BACKOFF)
        kind = ROTATE if self.wants_token else BEAT
        self.asked = self.message(kind if self.token else ENROL, t)
        self.wants_token = False  # it asks once each time that it is told to, as the agent does
        return self.asked

    def message(self, kind: str, t: float) -> Message:
        """A request of that kind, as of now."""
        seq = int((t - self.booted_at) * 1000) + 1
        nonce = f"{self.boot_id}-{self.address}" if kind == ENROL and self.has_nonce else None
        return Message(kind, self, self.token, self.boot_id, seq, t + self.clock_error, nonce, self.is_huge)

    def hear(self, reply: Reply, message: Message, t: float) -> None:
        """An answer has reached it. Only the first to its last request counts: for others it does not wait any more."""
        if not self.is_up or reply is None or message is not self.asked:
            return
        self.asked = None
        if isinstance(reply, Exception):
            self._hear_refusal(reply, message, t)
            return
        self._ceiling = 1.0
        if isinstance(reply, Admission):
            self.token, self.host_id, self.next_at = reply.token, reply.host_id, t + self.random.uniform(0, 2)
        elif isinstance(reply, Renewal):
            self.wants_token = reply.wants_rotation
            self.next_at = t + (0 if self.wants_token else reply.next_in_seconds)
        elif isinstance(reply, Rotation):
            self.token, self.next_at = reply.token, t + self.random.uniform(0, self.stage.interval_seconds)

    def _hear_refusal(self, error: Exception, message: Message, t: float) -> None:
        self.tell(t, f"hears {type(error).__name__}")
        if isinstance(error, GoneError) and message.token == self.token:
            self.token, self.next_at = "", t
        elif isinstance(error, ConflictError | InvalidError):
            self.next_at = t + self.stage.interval_seconds
        elif isinstance(error, UnauthorizedError) and message.token == self.token:
            self.next_at = float("inf")  # the agent ends; a person has to look


def make_key(source: random.Random) -> str:
    """A public SSH key that parses, of random bytes."""
    blob = b"".join(struct.pack(">I", len(word)) + word for word in (b"ssh-ed25519", source.randbytes(32)))
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"
