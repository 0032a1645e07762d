"""Rows as the JSON that the API answers; the pages show the same."""

from __future__ import annotations

from typing import Any

from inventory_service.clock import iso
from inventory_service.codes import statuses
from inventory_service.deployments import locks
from inventory_service.deployments.launching import run_queue
from inventory_service.deployments.prompting.answering import Question
from inventory_service.models import (
    ApiToken,
    Event,
    Host,
    JoinToken,
    Project,
    Release,
    Run,
    RunEvent,
    RunHost,
    Secret,
    Stage,
    StageLock,
    Transition,
    User,
)
from inventory_service.registry import expiry_guard, hosts, liveness
from inventory_service.registry.stages import shown_source, stage_name
from inventory_service.web import context
from inventory_service.wording import lock as lock_wording
from inventory_service.wording import run as wording

_DEAF = "heartbeats can't be written: the database is locked or full"


def project(row: Project) -> dict[str, Any]:
    """A project."""
    return {
        "name": row.name,
        "description": row.description,
        "source": shown_source(row.source),
        "source_kind": row.source_kind,
        "variables": row.variables,
        "created_at": iso(row.created_at),
    }


def stage(row: Stage) -> dict[str, Any]:
    """A stage with its locks."""
    return {
        "stage": stage_name(row),
        "project": row.project.name,
        "name": row.name,
        "description": row.description,
        "variables": row.variables,
        "ansible_user": row.ansible_user,
        "interval_seconds": row.interval_seconds,
        "ttl_seconds": row.ttl_seconds,
        "simple_join": row.has_simple_join,
        "converge": row.has_convergence,
        "default_revision": row.default_revision,
        "deploy_playbook": row.deploy_playbook,
        "rollback_playbook": row.rollback_playbook,
        "strategy": row.strategy,
        "batches": row.batches,
        "auto_rollback": row.has_auto_rollback,
        "minimum_healthy": row.minimum_healthy,
        "maximum_unreachable": row.maximum_unreachable,
        "run_timeout_seconds": row.run_timeout_seconds,
        "idle_timeout_seconds": row.idle_timeout_seconds,
        "desired_release": hosts.desired_release(row),
        "frozen": freeze_of(row),
        "approval": row.has_approval,
        "generation": row.generation,
        "lock": lock(locks.find(row, locks.BY_PERSON)),
        "held_by_run": _run_of(locks.find(row, locks.BY_RUN)),
        "created_at": iso(row.created_at),
    }


def freeze_of(row: Stage) -> dict[str, Any] | None:
    """Why and since when expiry stands still for a stage: its own freeze, else the one for all."""
    if row.frozen_at is not None:
        return {"since": iso(row.frozen_at), "reason": row.freeze_reason, "scope": "stage"}
    state = expiry_guard.read_global()
    if state.frozen_at is not None:
        return {"since": iso(state.frozen_at), "reason": state.reason, "scope": "all"}
    failing_since = context.services().intake.failing_since()
    return None if failing_since is None else {"since": iso(failing_since), "reason": _DEAF, "scope": "all"}


def lock(row: StageLock | None) -> dict[str, Any] | None:
    """A person's lock."""
    if row is None:
        return None
    reason = lock_wording.why(row.reasons)
    return {"locked_by": row.locked_by, "code": row.code, "reason": reason, "locked_at": iso(row.locked_at)}


def _run_of(row: StageLock | None) -> int | None:
    return row.run_id if row else None


def host(row: Host, of: Stage, expiry: liveness.Expiry, desired: dict[str, Any] | None) -> dict[str, Any]:
    """A host with its state at the moment of `expiry`."""
    return {
        "id": row.id,
        "name": row.name,
        "address": row.address,
        "port": row.port,
        "stage": stage_name(of),
        "state": expiry.state(row, of),
        "suspect": expiry.is_suspect(row, of),
        "conflict": row.conflict,
        "host_key_mismatch": row.host_key_mismatch or None,
        "groups": row.groups,
        "description": row.description,
        "draining": row.is_draining,
        "quarantined": row.is_quarantined,
        "quarantine_reason": row.quarantine_reason or None,
        "release": row.release_number,
        "revision": row.revision,
        "held_release": row.held_release_number,
        "acknowledged_run": row.acknowledged_run,
        "is_converged": hosts.is_converged(row, desired),
        "converge_attempts": row.converge_attempts,
        "converge_after": iso(row.converge_after),
        "desired_release": desired["number"] if desired else None,
        "healthy": row.is_healthy,
        "health_reason": row.health_reason,
        "enrolled_at": iso(row.enrolled_at),
        "last_seen_at": iso(row.last_seen_at),
        "stale_at": iso(expiry.stale_at(row, of)),
        "gone_at": iso(row.gone_at),
        "gone_reason": row.gone_reason,
        "boot_id": row.boot_id,
        "agent_version": row.agent_version,
        "facts": row.facts,
        "metrics": row.metrics,
        "host_keys": row.host_keys,
    }


def transition(row: Transition) -> dict[str, Any]:
    """One change of a host's state."""
    return {"at": iso(row.at), "from": row.from_state, "to": row.to_state, "reason": row.reason}


def secret(row: Secret) -> dict[str, Any]:
    """A secret without its value."""
    return {
        "name": row.name,
        "kind": row.kind,
        "of": "project" if row.stage_id is None else "stage",
        "created_by": row.created_by,
        "created_at": iso(row.created_at),
        "updated_by": row.updated_by,
        "updated_at": iso(row.updated_at),
    }


def join_token(row: JoinToken) -> dict[str, Any]:
    """A join token without its secret."""
    return {
        "id": row.id,
        "description": row.description,
        "groups": row.groups,
        "networks": row.networks,
        "uses": row.uses,
        "maximum_uses": row.maximum_uses,
        "created_by": row.created_by,
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at),
        "revoked_at": iso(row.revoked_at),
    }


def api_token(row: ApiToken) -> dict[str, Any]:
    """An API token without its secret."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "projects": row.projects,
        "created_by": row.created_by,
        "created_at": iso(row.created_at),
        "expires_at": iso(row.expires_at),
    }


def user(row: User) -> dict[str, Any]:
    """A user."""
    return {
        "name": row.name,
        "role": row.role,
        "projects": row.projects,
        "disabled": row.is_disabled,
        "created_at": iso(row.created_at),
    }


def release(row: Release) -> dict[str, Any]:
    """A release."""
    return {
        "number": row.number,
        "revision": row.revision,
        "revision_name": row.revision_name,
        "variables": row.variables,
        "created_by": row.created_by,
        "created_at": iso(row.created_at),
        "succeeded_at": iso(row.succeeded_at),
    }


def run(row: Run) -> dict[str, Any]:
    """A run as lists show it."""
    return {
        "id": row.id,
        "stage": stage_name(row.stage),
        "kind": row.kind,
        "status": row.status,
        "playbook": row.playbook,
        "revision": row.revision,
        "commit": row.source_commit,
        "release": row.release_number,
        "limit": row.limit,
        "exclude": row.exclude,
        "tags": row.tags,
        "skip_tags": row.skip_tags,
        "check": row.is_check,
        "diff": row.is_diff,
        "extra_vars": row.extra_vars,
        "comment": row.comment,
        "override_lock": row.override_lock,
        "queue": queue(row),
        "repeat_of": row.repeat_of,
        "repeat_mode": row.repeat_mode,
        "created_by": row.created_by,
        "created_at": iso(row.created_at),
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
        "duration_seconds": _seconds(row),
        "error": wording.ended(row.end_reasons),
        "end_code": row.end_code,
        "end_reasons": row.end_reasons,
        "rolls_back": row.rolls_back,
        "cancel_requested_by": row.cancel_requested_by,
        "origin": row.origin,
        "events_removed_at": iso(row.events_removed_at),
        "url": f"/api/v1/runs/{row.id}",
    }


def queue(row: Run) -> dict[str, Any] | None:
    """A queued run's place among those of its stage, and what it waits for."""
    if row.status != statuses.QUEUED:
        return None
    waiting = run_queue.waiting(row)
    return {"position": waiting.position, "waits_for": waiting.reason}


def question(one: Question) -> dict[str, Any]:
    """A prompt with what stands in where nobody answers it."""
    return {**one.prompt.to_json(), "fallback": one.fallback, "open": one.is_open}


def _seconds(row: Run) -> float | None:
    if row.started_at is None or row.ended_at is None:
        return None
    return round(float((row.ended_at - row.started_at).total_seconds()), 3)


def run_host(row: RunHost) -> dict[str, Any]:
    """What a run did on one host."""
    counters = ("ok", "changed", "failed", "unreachable", "skipped", "rescued", "ignored")
    counts = {name: getattr(row, name) for name in counters}
    message = wording.host_note(row.message_code, row.message_params)
    told = {"message": message, "message_code": row.message_code}
    return {"host": row.name, "address": row.address, "status": row.status, **counts, **told}


def snapshot(row: Run) -> dict[str, Any] | None:
    """What a run froze, but for the inventory; None for one that has not begun."""
    if not row.snapshot:
        return None
    frozen = {key: value for key, value in row.snapshot.items() if key != "inventory"}
    if "sender" in frozen:
        frozen["laptop"] = frozen["sender"]  # as earlier versions named it
    if "missing" in frozen:
        frozen["missing"] = [_missing(one) for one in frozen["missing"]]
        frozen["notes"] = [wording.snapshot_note(note) for note in frozen["notes"]]
    return frozen


def _missing(one: dict[str, Any]) -> dict[str, Any]:
    reason = wording.host_note(one["code"], one["params"])
    return {"host": one["host"], "status": one["status"], "code": one["code"], "reason": reason}


def event_of_audit(row: Event) -> dict[str, Any]:
    """One event of the audit log."""
    return {
        "id": row.id,
        "at": iso(row.at),
        "action": row.name,
        "actor": row.actor_name,
        "actor_kind": row.actor_kind,
        "actor_id": row.actor_id,
        "peer": row.peer,
        "target": row.target_path,
        "target_kind": row.target_kind,
        "target_id": row.target_id,
        "changes": row.changes,
        "details": row.details if row.reason_code is None else {"reason_code": row.reason_code, **row.details},
    }


def event(row: RunEvent) -> dict[str, Any]:
    """One event of a run."""
    return {
        "counter": row.counter,
        "at": iso(row.at),
        "event": row.event,
        "host": row.host,
        "play": row.play,
        "task": row.task,
        "action": row.action,
        "status": row.status,
        "changed": row.is_changed,
        "duration_seconds": row.duration_seconds,
        "message": row.message,
        "log_start": row.log_start,
        "log_end": row.log_end,
    }
