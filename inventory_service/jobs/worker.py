"""The worker: starts an executor for each run whose turn it is, and ticks the periodic jobs."""

from __future__ import annotations

from inventory_service.adapters.queue import RunQueue
from inventory_service.clock import SystemClock
from inventory_service.jobs.periodic import Ticker, jobs
from inventory_service.jobs.starter import Starter
from inventory_service.settings import Settings


def work(settings: Settings, *, front_door: str = "") -> None:
    """Work until SIGTERM or SIGINT. Runs in progress go on in their own processes.

    `front_door`: the URL at which the service hears its own heartbeat, as hosts do; this machine's own when empty.
    """
    run_queue, clock = RunQueue(settings), SystemClock()
    ticker, starter = Ticker(jobs(settings, run_queue, front_door=front_door), clock), Starter(settings, clock)
    ticker.start()
    starter.start()
    try:
        run_queue.consume(lambda _: starter.wake(), workers=1)
    finally:
        starter.stop()
        ticker.stop()
