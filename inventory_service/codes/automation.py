"""Why a schedule started nothing, and what came of a push."""

from __future__ import annotations

from inventory_service.reasons import Code


class ScheduleFailure(Code):
    """Why a schedule's last run did not start."""

    NO_WORKER = "no_worker"  # moment
    STILL_ACTIVE = "still_active"  # run, status
    REFUSED = "refused"  # text: the error's
    OTHER = "other"  # text


class Delivery(Code):
    """What came of one delivery of a webhook, more closely than its outcome."""

    NO_PUSH = "no_push"
    REF_DELETED = "ref_deleted"  # ref
    OTHER_REF = "other_ref"  # ref, refs
    DEPLOYS = "deploys"  # run, revision
    REFUSED = "refused"  # text: the error's
    UNFINISHED = "unfinished"
    FORGOTTEN = "forgotten"  # its words were pruned
    OTHER = "other"  # text
