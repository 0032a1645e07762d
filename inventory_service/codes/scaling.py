"""Why a stage scales or does not, what is wrong with it, and what lifecycle hooks were answered."""

from __future__ import annotations

from inventory_service.reasons import Code


class Plan(Code):
    """What led to a decision: a line for each policy, then the bounds, then the rule that forbade a change."""

    # policy, statistic, metric, window_seconds, value, target, capacity (hosts that it wants)
    TARGET_ABOVE = "target_above"
    TARGET_BELOW = "target_below"
    TARGET_MET = "target_met"
    # policy, statistic, metric, window_seconds, value, threshold
    STEP_NONE = "step_none"
    STEP = "step"  # and capacity
    SCHEDULE = "schedule"  # policy, capacity
    NO_READING = "no_reading"  # policy, problem: a reason of Reading
    BOUNDED = "bounded"  # capacity, minimum, maximum
    # rules that forbid a change
    ROLLING_BACK = "rolling_back"
    COOLDOWN_OUT = "cooldown_out"  # seconds
    COOLDOWN_IN = "cooldown_in"  # seconds
    EXPIRY_PAUSED = "expiry_paused"
    RUN_ACTIVE = "run_active"  # run
    NOT_SERVING = "not_serving"  # hosts: how many
    READING_MISSING = "reading_missing"  # policies: their names
    NO_CANDIDATE = "no_candidate"
    OTHER = "other"  # text


class Reading(Code):
    """Why a signal has no value that counts."""

    NOT_REPORTED = "not_reported"  # metric, seconds
    REPORTED_BEFORE = "reported_before"  # metric, seconds
    TOO_FEW_REPORT = "too_few_report"  # reporting, expected
    NO_VALUE = "no_value"
    NOT_MEASURED = "not_measured"
    NOBODY_SERVES = "nobody_serves"
    CLOUDWATCH_UNSURE = "cloudwatch_unsure"  # metric, text: CloudWatch's
    CLOUDWATCH_EMPTY = "cloudwatch_empty"  # metric
    CLOUDWATCH_OLD = "cloudwatch_old"  # metric, seconds
    OTHER = "other"  # text


class Failure(Code):
    """Why a decision failed, why a stage could not be looked at, or why its hooks could not be answered."""

    EXPIRED = "expired"
    PROTECTED = "protected"  # instances
    DRAIN_FAILED = "drain_failed"  # run, status
    AWS_REFUSED = "aws_refused"  # about, error: AWS's own code, text: AWS's
    AWS_UNREACHABLE = "aws_unreachable"  # about, text: the library's
    NO_GROUP = "no_group"  # group, region
    GROUP_FULL = "group_full"  # group, maximum
    REFUSED = "refused"  # text: an error's of another part of Callboard
    UNEXPECTED = "unexpected"  # error: its class, text
    OTHER = "other"  # text


class Finding(Code):
    """Where EC2 and the registry differ. Each also has instance, host and since."""

    AGENT_SILENT = "agent_silent"
    NOT_ENROLLED = "not_enrolled"
    ENDED = "ended"  # state
    BEATS_AFTER_END = "beats_after_end"  # state
    OTHER_STAGE = "other_stage"
    BAD_TAG = "bad_tag"  # text: why it is no group


class Preview(Code):
    """What a preview played, and what it could not."""

    GIVEN = "given"
    SHIPPED = "shipped"
    RECORDED = "recorded"  # seconds
    TOO_LITTLE_RECORDED = "too_little_recorded"  # metrics: their names, seconds (None: nothing)
    PRESENT_NOT_PLAYED = "present_not_played"


class Lifecycle(Code):
    """What an instance waits for, or why it was answered as it was."""

    # it waits
    NOT_ENROLLED = "not_enrolled"
    NOT_LISTED = "not_listed"  # host, state
    IN_CONFLICT = "in_conflict"  # host, conflict: its code and parameters
    OUT_OF_DATE = "out_of_date"  # host, release
    NOT_HEALTHY = "not_healthy"  # host, text: the agent's, None where it gave none
    RUN_ACTIVE = "run_active"  # host
    DRAINING = "draining"  # run, status
    # it was continued
    READY = "ready"  # host
    DRAINED = "drained"
    NOBODY_TO_DRAIN = "nobody_to_drain"
    DRAIN_ENDED = "drain_ended"  # run, status
    DRAIN_TOO_LONG = "drain_too_long"  # run
    # it was abandoned
    QUARANTINED = "quarantined"  # quarantine: its code and parameters, None where nobody gave a reason
    # it is over
    OTHER_HOOK = "other_hook"
    NOT_WAITING = "not_waiting"  # state: the group's word for it, None where it has none
    NO_LONGER_WAITING = "no_longer_waiting"
    NOT_TAKEN = "not_taken"  # answer: the reason of the answer that the group did not take
    NOT_ANSWERED = "not_answered"  # the stage answers no hooks now
    OTHER = "other"  # text
