"""Why a stage is locked."""

from __future__ import annotations

from inventory_service.reasons import Code

BY_RUN, BY_PERSON = "run", "person"  # whose a lock is: of the run that works, or of who wants none to


class Lock(Code):
    """The first reason is the lock's `code`; a rollout that stops on a locked stage adds its own."""

    RUN = "run"  # run
    PERSON = "person"  # text
    ROLLOUT_STOPPED = "rollout_stopped"  # release, run, reasons: those of the run's end
    ROLLBACK_FAILED = "rollback_failed"  # run, rollback, status, reasons: those of the rollback's end
    OTHER = "other"  # text
