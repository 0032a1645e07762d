"""A run's lease: the executor's word, once a second, that it is still there; and the fence that keeps an executor
out which others have given up.

Every takeover of a run raises its `attempt`. An executor writes about its run only under the attempt with which
it claimed it, so that one which comes back from the dead changes nothing any more.
"""

from __future__ import annotations

import datetime as dt

import peewee as pw

from inventory_service.deployments import statuses
from inventory_service.models import Run


def held(run: Run) -> pw.Expression:
    """The condition under which the run is still the one that was claimed: for every UPDATE by its executor."""
    held: pw.Expression = (Run.id == run.id) & (Run.attempt == run.attempt) & (Run.status == statuses.RUNNING)
    return held


def renew(run: Run, *, at: dt.datetime) -> bool:
    """Renew the lease; False when somebody else has taken the run over."""
    return bool(Run.update(lease_at=at).where(held(run)).execute() == 1)
