"""The worker: starts an executor for each run whose turn it is, and ticks the periodic jobs."""

from __future__ import annotations

import signal

from inventory_service.clock import SystemClock
from inventory_service.jobs.periodic import Ticker, jobs
from inventory_service.jobs.starter import Starter
from inventory_service.settings import Settings


def work(settings: Settings, *, service_url: str = "") -> None:
    """Work until SIGTERM or SIGINT, in the process's main thread. Runs in progress go on in their own processes.

    `service_url`: the URL at which the service hears its own heartbeat, as hosts do; this machine's own when empty.
    """
    clock = SystemClock()
    ticker, starter = Ticker(jobs(settings, service_url=service_url), clock), Starter(settings, clock)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: starter.stop())
    ticker.start()
    try:
        starter.run()
    finally:
        ticker.stop()
