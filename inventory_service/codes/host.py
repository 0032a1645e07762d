"""Why a host is as it is. Each member's comment lists its parameters."""

from __future__ import annotations

from inventory_service.reasons import Code


class State(Code):
    """What a host is, by its lease (registry/liveness.py). LATE is never recorded."""

    PENDING = "pending"
    LIVE = "live"
    LATE = "late"
    STALE = "stale"
    GONE = "gone"


class Gone(Code):
    """Why a host has left its stage."""

    GOODBYE = "goodbye"
    SILENT = "silent"
    REPLACED = "replaced"
    REMOVED = "removed"  # by: the actor's name
    EC2_ENDED = "ec2_ended"  # instance, state: terminated or stopped
    SCALED_IN = "scaled_in"  # decision: its number
    GROUP_ENDS = "group_ends"  # group: the Auto Scaling group's name, instance
    OTHER = "other"  # text


class Conflict(Code):
    """Why a host is in no inventory whatever its state."""

    SAME_ADDRESS = "same_address"  # other: the other host's name, address, port
    CLONED = "cloned"
    ENDED_BUT_BEATS = "ended_but_beats"  # instance, state: terminated or stopped
    OTHER = "other"  # text


class Quarantine(Code):
    """Who excluded a host from convergence, and why."""

    PERSON = "person"  # by: the actor's name, text: the person's own words, "" for none
    CONVERGENCE = "convergence"  # attempts, release, run, and words: Ansible's last ones, or null


class KeyMismatch(Code):
    """Where SSH host keys were met that are not on record."""

    RUN = "run"  # run
    ENROLMENT = "enrolment"  # peer: the address that asked
    OTHER = "other"  # text


class Cause(Code):
    """Why a host became pending, live or stale. Who has become gone has a code of Gone."""

    ENROLLED = "enrolled"
    ENROLLED_EXPECTED = "enrolled_expected"  # it is the instance that EC2 had just started
    ENROLLED_AGAIN = "enrolled_again"
    HEARTBEAT = "heartbeat"
    RENEWED = "renewed"  # by a call for a host without an agent
    ADDED = "added"  # by: the actor's name
    APPROVED = "approved"  # by
    SILENT = "silent"
    EXPIRED = "expired"  # by: who said that its silence is to be believed
    OTHER = "other"  # text
