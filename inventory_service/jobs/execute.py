"""The executor's process: `python -m inventory_service.jobs.execute`. One process, one run.

It waits on its input for the number of the run that was claimed for it, with everything loaded, and ends when the input
does. With a number as its argument it claims that run itself.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from inventory_service import settings as settings_module
from inventory_service.adapters import processes
from inventory_service.clock import SystemClock
from inventory_service.database import open_database
from inventory_service.deployments import convergence
from inventory_service.deployments.executor import execution
from inventory_service.deployments.launching import requests
from inventory_service.vault import masking
from inventory_service.vault.masking import MaskingFormatter

log = logging.getLogger("inventory_service.jobs.execute")

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")


def main(run_id: int) -> int:
    """Execute the run that was claimed for this process, or is due. 0 also when somebody else has it: no error."""
    _log_without_secrets()
    settings, clock = settings_module.load(), SystemClock()
    _scrub_environment()
    processes.adopt_orphans()
    processes.spare_the_collector()
    open_database(settings.database_url)
    run = execution.insist(lambda: execution.claimed(run_id) or execution.claim(run_id, at=clock.now()))
    if run is None:
        return 0
    status = execution.execute(run, settings=settings, clock=clock)
    convergence.conclude(requests.get(run.id))
    log.info("run %s: %s", run_id, status)
    return 0


def _log_without_secrets() -> None:
    """What an exception or a library says may hold a value that it choked on."""
    handler = logging.StreamHandler()
    handler.setFormatter(MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s", masking.in_use))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = lambda kind, error, trace: log.critical("the executor died", exc_info=(kind, error, trace))


def _scrub_environment() -> None:
    """ansible-runner hands this process's environment to the playbook: leave nothing of the service's in it."""
    for name in set(os.environ) - set(_KEPT):
        del os.environ[name]


def wait_for_run() -> int | None:
    """The number of the run that is to be executed; output goes to that run's folder from then on.

    None when the worker has ended without needing this process.
    """
    line = sys.stdin.buffer.readline()
    if not line.strip():
        return None
    run_id = int(line)
    folder = settings_module.load().run_dir(run_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "executor.log").open("ab") as output, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for own in (1, 2):
            os.dup2(output.fileno(), own)
    return run_id


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else wait_for_run()
    sys.exit(0 if number is None else main(number))
