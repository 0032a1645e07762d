"""The words for what a run did on one host."""

from __future__ import annotations

OK, CHANGED, FAILED, UNREACHABLE, UNTOUCHED = "ok", "changed", "failed", "unreachable", "untouched"
PENDING, LOST = "pending", "lost"
LEFT_OUT = "left_out"  # hosts that fell silent or left after the launch
GONE, STALE, CONFLICT = "gone", "stale", "conflict"  # hosts that a repeated run was to work on and could not
MISSING = (GONE, STALE, CONFLICT)
REACHED = (OK, CHANGED, FAILED, UNREACHABLE)  # hosts that tasks worked on, or tried to
WORKED_ON = (*REACHED, LOST)  # also those whose task never ended
