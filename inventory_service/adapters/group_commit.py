"""Group commit: many small writes share one transaction, without waiting for each other.

A single thread writes. It takes whatever was handed in while the previous commit was under way, so a lone write is
committed at once and a crowd of them costs one fsync. (A fixed batching window makes everybody wait for nothing.) Two
batches begin the pace apart, unless a crowd waits: a steady trickle would otherwise pay for an fsync and a transaction
each time, and 1,700 heartbeats a second would take three quarters of a core.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from inventory_service.errors import BusyError

log = logging.getLogger(__name__)

_BUSY = "The database did not answer in time. Try again in a moment."
Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGEST_BATCH = 500
_PATIENCE_SECONDS = 4.0  # a client that waits for five gets an answer
_PACE_SECONDS = 0.015
_CROWD = 16  # so many make a transaction worth its while


class _Slot(Generic[Item, Result]):
    """One item on its way: the one who handed it in waits on `done`."""

    __slots__ = ("done", "item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()


class GroupCommit(Generic[Item, Result]):
    """`submit` hands an item in and returns its result when it is on disk.

    `write` gets a batch, does it in one transaction, and returns one result or exception for each item, in order.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        name: str,
        pace_seconds: float = _PACE_SECONDS,
    ) -> None:
        self._write = write
        self._pace_seconds = pace_seconds
        self._name = name
        self._waiting: queue.SimpleQueue[_Slot[Item, Result]] = queue.SimpleQueue()
        self._is_crowded = threading.Event()
        self._starting = threading.Lock()
        self._is_started = False
        self._begun: float | None = None
        self._due = 0.0

    def submit(self, item: Item) -> Result:
        """The item's result. Raises what its write raised, or BusyError when the database does not answer in time; at
        once, when it has not for that long already: else a stuck database would hold a thread for each caller.
        """
        if not self._is_started:
            self._start()
        if self._begun is not None and time.monotonic() - self._begun > _PATIENCE_SECONDS:
            raise BusyError(_BUSY)
        slot: _Slot[Item, Result] = _Slot(item)
        self._waiting.put(slot)
        if self._waiting.qsize() >= _CROWD and not self._is_crowded.is_set():
            self._is_crowded.set()
        if not slot.done.acquire(timeout=_PATIENCE_SECONDS):
            raise BusyError(_BUSY)
        if isinstance(slot.result, Exception):
            raise slot.result
        return slot.result  # type: ignore[return-value]

    def _start(self) -> None:
        """Start the thread at the first use: servers fork after they have loaded the application."""
        with self._starting:
            if not self._is_started:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
                self._is_started = True

    def _run(self) -> None:
        while True:
            batch = self._take()
            self._begun = time.monotonic()
            self._due = self._begun + self._pace_seconds
            try:
                results: Sequence[Result | Exception] = self._write([slot.item for slot in batch])
            except Exception as error:  # noqa: BLE001 - each of the waiting gets it
                log.warning("%s: a batch of %d was not written: %s", self._name, len(batch), error)
                results = [error] * len(batch)
            self._begun = None
            for slot, result in zip(batch, results, strict=True):
                slot.result = result
                slot.done.release()

    def _take(self) -> list[_Slot[Item, Result]]:
        """Wait for one item, then take along all that wait already; not sooner than the pace after the last batch
        began, except for a crowd.
        """
        batch = [self._waiting.get()]
        self._is_crowded.wait(max(0.0, self._due - time.monotonic()))
        self._is_crowded.clear()
        while len(batch) < _LARGEST_BATCH:
            try:
                batch.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return batch
