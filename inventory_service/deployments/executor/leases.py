"""A run's lease: the executor's word, once a second, that it is still there; and the fence that keeps an executor
out which others have given up.

Every takeover of a run raises its `attempt`. An executor writes about its run only under the attempt with which
it claimed it, so that one which comes back from the dead changes nothing any more.
"""

from __future__ import annotations

import dataclasses
import datetime as dt

import peewee as pw

from inventory_service.database import database, fetch, to_microseconds
from inventory_service.deployments.runs import statuses
from inventory_service.models import Run

_RENEW = "UPDATE run SET lease_at = ? WHERE id = ? AND attempt = ? AND status = ? RETURNING cancel_requested_at"


def held(run: Run) -> pw.Expression:
    """The condition under which the run is still the one that was claimed: for every UPDATE by its executor."""
    held: pw.Expression = (Run.id == run.id) & (Run.attempt == run.attempt) & (Run.status == statuses.RUNNING)
    return held


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """What an executor learns when it renews its lease: whether the run is still its own, and is wanted."""

    is_held: bool
    is_canceled: bool


def renew(run: Run, *, at: dt.datetime) -> Renewal:
    """Renew the lease, where it is `held`. The SQL is written out, because every executor asks once a second."""
    with database.atomic():
        rows = fetch(_RENEW, (to_microseconds(at), run.id, run.attempt, statuses.RUNNING))
    return Renewal(bool(rows), any(wish is not None for (wish,) in rows))
