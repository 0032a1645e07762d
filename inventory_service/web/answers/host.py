"""Hosts: what is known of them, and what they get when they call."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field

from inventory_service import models
from inventory_service.registry import heartbeats, hosts, liveness
from inventory_service.registry.stages import stage_name
from inventory_service.web.answers.base import Answer, Kind, Moment, Number, State, WrittenMoment, old_name, one_of
from inventory_service.web.answers.release import DesiredRelease
from inventory_service.wording import host as wording


class Host(Answer):
    id: str
    name: str
    address: str
    port: int
    stage: str
    state: State
    suspect: bool = Field(description="Listed only because expiry is paused")
    conflict: str | None
    host_key_mismatch: str | None = Field(description="What a run met in the place of the key on record")
    groups: list[str]
    description: str
    draining: bool
    quarantined: bool = Field(description="Excluded from convergence; runs by hand still reach it")
    quarantine_reason: str | None
    release: int | None = Field(description="The release that the host reports")
    revision: str | None
    pinned_release: int | None = Field(description="The release that it stays on until the next whole deploy")
    acknowledged_run: int | None = Field(description="The last run that reached the host, by its own word")
    up_to_date: bool = Field(description="Whether it runs what it should")
    converge_attempts: int = Field(description="Converge runs that failed on it since its last success")
    converge_after: Moment | None = Field(description="Convergence leaves it alone until then")
    desired_release: int | None = Field(description="The release that its stage should run")
    healthy: bool | None = Field(description="What the host says of itself; null when it says nothing")
    health_reason: str | None
    enrolled_at: Moment
    last_seen_at: Moment
    stale_at: Moment | None
    gone_at: Moment | None
    gone_reason: str | None
    boot_id: str | None
    agent_version: str | None
    facts: dict[str, Any]
    metrics: dict[str, Number]
    host_keys: list[str]

    held_release = old_name("pinned_release", int | None)  # type: ignore[pydantic-field]
    is_converged = old_name("up_to_date", bool)  # type: ignore[pydantic-field]

    @classmethod
    def of(cls, row: models.Host, stage: models.Stage, expiry: liveness.Expiry, desired: dict[str, Any] | None) -> Host:
        """With its state at the moment of `expiry`. `desired`: the stage's, from `hosts.desired_release`."""
        return Host(
            id=row.id,
            name=row.name,
            address=row.address,
            port=row.port,
            stage=stage_name(stage),
            state=expiry.state(row, stage),
            suspect=expiry.is_suspect(row, stage),
            conflict=wording.conflict(row.conflict_code, row.conflict_params),
            host_key_mismatch=wording.key_mismatch(row.key_mismatch_code, row.key_mismatch_params),
            groups=row.groups,
            description=row.description,
            draining=row.is_draining,
            quarantined=row.quarantine_code is not None,
            quarantine_reason=wording.quarantine(row.quarantine_code, row.quarantine_params),
            release=row.release_number,
            revision=row.revision,
            pinned_release=row.pinned_release_number,
            acknowledged_run=row.acknowledged_run,
            up_to_date=hosts.is_up_to_date(row, desired),
            converge_attempts=row.converge_attempts,
            converge_after=row.converge_after,
            desired_release=desired["number"] if desired else None,
            healthy=row.is_healthy,
            health_reason=row.health_reason,
            enrolled_at=row.enrolled_at,
            last_seen_at=row.last_seen_at,
            stale_at=expiry.stale_at(row, stage),
            gone_at=row.gone_at,
            gone_reason=wording.gone(row.gone_code, row.gone_params),
            boot_id=row.boot_id,
            agent_version=row.agent_version,
            facts=row.facts,
            metrics=row.metrics,
            host_keys=row.host_keys,
        )

    def in_the_past(self, state: str, conflict: str | None) -> Self:
        """As it was at another moment, as far as that is kept."""
        self.state, self.suspect, self.conflict = state, False, conflict
        return self


class Transition(Answer):
    at: Moment
    from_: State | None = Field(serialization_alias="from", description="Null for the first")
    to: State
    reason: str

    @classmethod
    def of(cls, row: models.Transition) -> Transition:
        """One change of a host's state."""
        reason = wording.cause(row.reason_code, row.reason_params)
        return Transition(at=row.at, from_=row.from_state, to=row.to_state, reason=reason)


class RunOfHost(Answer):
    run: int
    kind: Kind
    status: str
    ended_at: Moment | None

    @classmethod
    def of(cls, row: models.RunHost) -> RunOfHost:
        """What a run did on this host."""
        return RunOfHost(run=row.run.id, kind=row.run.kind, status=row.status, ended_at=row.run.ended_at)


class HostWithHistory(Host):
    transitions: list[Transition]
    runs: list[RunOfHost]

    @classmethod
    def with_history(
        cls, host: Host, transitions: list[models.Transition], results: list[models.RunHost]
    ) -> HostWithHistory:
        """The newest of both first."""
        return HostWithHistory(
            **host.fields(),
            transitions=[Transition.of(row) for row in transitions],
            runs=[RunOfHost.of(row) for row in results],
        )


class LastHeartbeat(Answer):
    state: str = Field(description="`gone` stands alone: there is no such host in the stage")
    id: str | None = None
    agent: str | None = Field(None, description="The agent's version")
    last_seen_at: WrittenMoment | None = None
    reported_at: WrittenMoment | None = Field(None, description="When the heartbeat with this release was received")
    release: int | None = None
    revision: str | None = None
    healthy: bool | None = None
    reason: str | None = None


class LastHeartbeats(Answer):
    """As `last_heartbeats.read` makes it, which the executor asks as well."""

    stage: str
    server_time: WrittenMoment
    interval_seconds: int
    ttl_seconds: int
    hosts: dict[str, LastHeartbeat]


class Enrolled(Answer):
    host: str
    name: str
    stage: str
    token: str = Field(description="The host's own token, shown this once")
    interval_seconds: int
    ttl_seconds: int

    @classmethod
    def of(cls, row: models.Host, token: str) -> Enrolled:
        """What a machine needs to call again."""
        return Enrolled(
            host=row.id,
            name=row.name,
            stage=stage_name(row.stage),
            token=token,
            **liveness.terms(row.stage),
        )


class Rotated(Answer):
    host: str
    token: str


class Renewed(Answer):
    server_time: WrittenMoment
    state: State
    duplicate: bool
    generation: int
    next_in_seconds: Number
    ttl_seconds: int
    desired_release: DesiredRelease | None
    send_facts: bool
    token_age_seconds: int | None
    rotate: bool

    @classmethod
    def of(cls, renewal: heartbeats.Renewal) -> Renewed:
        """What a heartbeat is answered."""
        return Renewed(
            server_time=renewal.server_time or "",
            state=renewal.state,
            duplicate=renewal.is_duplicate,
            generation=renewal.generation,
            next_in_seconds=renewal.next_in_seconds,
            ttl_seconds=renewal.ttl_seconds,
            desired_release=DesiredRelease.of(renewal.desired_release),
            send_facts=renewal.wants_facts,
            token_age_seconds=renewal.token_age_seconds,
            rotate=renewal.wants_rotation,
        )


class Gone(Answer):
    host: str
    state: Annotated[str, one_of("gone")]
