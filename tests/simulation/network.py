"""A network that loses, delays, copies, reorders and replays requests, and loses answers."""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections import deque

from tests.simulation.machines import BEAT, ENROL, UNREPEATED, Machine, Message

_REMEMBERED = 200


@dataclasses.dataclass
class Network:
    """`loss` and `answer_loss`, `copies`, `replays` are probabilities, `delay` the longest in seconds.

    Enrolments and rotations are not copied (machines.UNREPEATED).
    """

    random: random.Random
    loss: float = 0.0
    answer_loss: float = 0.0
    copies: float = 0.0
    replays: float = 0.0
    delay: float = 0.0
    slow: set[Machine] = dataclasses.field(default_factory=set)
    cut: set[Machine] = dataclasses.field(default_factory=set)
    cut_stages: set[int] = dataclasses.field(default_factory=set)
    is_door_shut: bool = False
    _flying: list[tuple[float, int, Message]] = dataclasses.field(default_factory=list)
    _arrived: deque[Message] = dataclasses.field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _count: int = 0

    @property
    def is_calm(self) -> bool:
        """Whether it does nothing to anybody who is not cut off."""
        return not (self.loss or self.answer_loss or self.delay or self.is_door_shut)

    def reaches(self, machine: Machine) -> bool:
        """Whether the machine's requests have a way to the service at all."""
        return not self.is_door_shut and machine not in self.cut and machine.stage.id not in self.cut_stages

    def send(self, message: Message, t: float) -> None:
        """Take a request in."""
        if not self.reaches(message.machine) or self.random.random() < self.loss:
            message.machine.tell(t, f"sends {message.kind} {message.seq}, lost")
            return
        self._fly(message, t)
        if message.kind not in UNREPEATED and self.random.random() < self.copies:
            self._fly(message, t)

    def _fly(self, message: Message, t: float) -> None:
        is_slow = message.machine in self.slow and message.kind != ENROL  # else it would give up each time
        longest = max(self.delay, 25.0 if is_slow else 0.0)
        delay = self.random.uniform(0, longest)
        self._count += 1
        heapq.heappush(self._flying, (t + delay, self._count, message))

    def arrivals(self, t: float) -> list[Message]:
        """The requests that have arrived by now, in any order, some old ones again among them."""
        found: list[Message] = []
        while self._flying and self._flying[0][0] <= t:
            found.append(heapq.heappop(self._flying)[2])
        self._arrived.extend(message for message in found if message.kind == BEAT)
        found += self._replayed()
        self.random.shuffle(found)
        return found

    def _replayed(self) -> list[Message]:
        if not self._arrived or self.random.random() >= self.replays:
            return []
        return self.random.choices(self._arrived, k=3)

    def loses_answer(self, machine: Machine) -> bool:
        """Whether this answer does not get through."""
        return not self.reaches(machine) or self.random.random() < self.answer_loss
