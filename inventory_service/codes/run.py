"""Why a run ended as it did, what became of it on a host, and what differs in a repeat."""

from __future__ import annotations

from inventory_service.reasons import Code


class End(Code):
    """Why a run ended. The first reason is the run's `end_code`; what follows it was noted beside it."""

    # canceled
    CANCELED_BEFORE_START = "canceled_before_start"  # by
    CANCELED = "canceled"  # by (None: unknown)
    STAGE_ARCHIVED = "stage_archived"
    EXPIRY_PAUSED = "expiry_paused"
    NOBODY_OUT_OF_DATE = "nobody_out_of_date"
    INTERRUPTED = "interrupted"
    # timeout
    OUT_OF_TIME = "out_of_time"  # seconds
    IDLE = "idle"  # seconds
    # lost
    EXECUTOR_DIED = "executor_died"  # tasks: [[host, task], …] under way, None where nothing is known; more
    SENDER_SILENT = "sender_silent"
    # failed
    HOSTS_FAILED = "hosts_failed"  # hosts (the first), more, of
    HOSTS_UNREACHABLE = "hosts_unreachable"  # hosts (the first), more, of
    HOST_KEYS_MISMATCH = "host_keys_mismatch"  # hosts (the first), more
    HOST_SAID = "host_said"  # host, text: the last words of the first host that failed
    ANSIBLE_FAILED = "ansible_failed"  # return_code, text: Ansible's last error, empty where it has none
    NO_HOSTS_LEFT = "no_hosts_left"  # count, of
    NOBODY_TOUCHED = "nobody_touched"
    NO_LIVE_HOST = "no_live_host"  # stage
    NOBODY_THERE = "nobody_there"  # hosts: [[name, result], …], more
    TOO_MANY_UNREACHABLE = "too_many_unreachable"  # count, of, bound, most
    TOO_FEW_HEALTHY = "too_few_healthy"  # count, of, bound, least
    NOT_PREPARED = "not_prepared"  # text: the error's
    SERVICE_FAILED = "service_failed"  # text: the exception
    # beside another reason, or alone where the run was successful
    LOG_INCOMPLETE = "log_incomplete"  # text: the system's
    EVENTS_INCOMPLETE = "events_incomplete"  # text: the database's
    DISK_FULL = "disk_full"  # folder
    FILES_UNWRITABLE = "files_unwritable"  # text: the system's
    # what followed from the end of a rollout
    NO_EARLIER_RELEASE = "no_earlier_release"
    ROLLED_BACK = "rolled_back"  # run, release, count
    ROLLBACK_REFUSED = "rollback_refused"  # text: the error's
    STAGE_LOCKED = "stage_locked"
    OTHER = "other"  # text


class Wait(Code):
    """What a queued run waits for."""

    LOCK = "lock"  # by, reason: what is said of the lock
    RUN = "run"  # run, kind, status, more: how many others before it
    WORKER = "worker"


class HostNote(Code):
    """What somebody has to know of one host of a run."""

    LEFT_STAGE = "left_stage"
    SILENT = "silent"  # since
    UNDER_WAY = "under_way"  # task, empty where it is unknown
    HOST_KEY_MISMATCH = "host_key_mismatch"  # host
    # of hosts that a repeated run was to work on
    UNKNOWN = "unknown"
    GONE = "gone"  # why: a reason of codes.host.Gone, null for silence
    STALE = "stale"
    IN_CONFLICT = "in_conflict"  # why: a reason of codes.host.Conflict
    TO_BE_ENDED = "to_be_ended"
    OTHER = "other"  # text


class SnapshotNote(Code):
    """What a run has otherwise than the run that it repeats or rolls back."""

    NOT_LIVE = "not_live"  # host, run
    OTHER_HOST_KEYS = "other_host_keys"  # host, run
    OTHER_ADDRESS = "other_address"  # host, before: [address, port], now: [address, port]
    OTHER_TOOL = "other_tool"  # tool, before, now (None: not there), run
    SECRET_SET = "secret_set"  # noqa: S105 - secret, run
    SECRET_REMOVED = "secret_removed"  # noqa: S105 - secret, run
    OTHER = "other"  # text
