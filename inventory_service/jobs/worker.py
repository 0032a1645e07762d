"""The worker: takes run ids from the queue, gives each run an executor process, and ticks the periodic jobs."""

from __future__ import annotations

import logging
import subprocess
import sys

from inventory_service.adapters.queue import RunQueue
from inventory_service.clock import SystemClock
from inventory_service.jobs.periodic import Ticker, jobs
from inventory_service.settings import Settings

log = logging.getLogger(__name__)


def work(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT. Runs in progress go on in their own processes."""
    run_queue = RunQueue(settings)
    ticker = Ticker(jobs(settings, run_queue), SystemClock())
    ticker.start()
    try:
        run_queue.consume(lambda run_id: execute_apart(run_id, settings), workers=settings.run_workers)
    finally:
        ticker.stop()


def execute_apart(run_id: int, settings: Settings) -> None:
    """Start the run's executor in a session of its own and wait for it: a restart of the worker doesn't end it."""
    folder = settings.run_dir(run_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "executor.log").open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "inventory_service.jobs.execute", str(run_id)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        code = child.wait()
    if code != 0:
        log.error("the executor of run %s ended with code %s; see %s", run_id, code, folder / "executor.log")
