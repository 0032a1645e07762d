"""What a host says once an interval, each field described once: its name and bounds in the API's body and document,
what of it is accepted, and the column that keeps it.

To have hosts say more, add a field here and a column of its name to `models.Host`, and name it in `KEPT`.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from inventory_service.records import reported

# Columns of a host that become what its last heartbeat said, None too: each is an attribute of `Heartbeat`.
KEPT = ("agent_version", "metrics", "is_healthy", "health_reason")


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ReportedRelease(_Said):
    """What the host runs, from its `current` link and the file REVISION."""

    name: str | None = Field(None, max_length=128)
    number: int | None = Field(None, ge=0, le=2**31)
    revision: str | None = Field(None, max_length=128)


class ReportedHealth(_Said):
    """The word of the agent's own health check."""

    healthy: bool = Field(description="What the agent's health check says")
    reason: str | None = Field(None, max_length=256, description="Why not, in one line")


class Heartbeat(_Said):
    """A heartbeat's body. What is left out changes nothing, except health: without it, the host has no check."""

    boot_id: str = Field(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z-]+$")
    seq: int = Field(ge=0, le=2**62, description="Uptime in milliseconds; orders heartbeats without a clock")
    agent_version: str | None = Field(None, max_length=32, pattern=r"^[0-9A-Za-z.+-]*$")
    release: ReportedRelease | None = Field(None, description="Its revision null: the host can't tell")
    facts_hash: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    facts: dict[str, Any] | None = None
    metrics: dict[str, float] = {}
    health: ReportedHealth | None = Field(None, description="Left out where the agent has no health check")
    run: int | None = Field(None, ge=0, le=2**31 - 1, description="The last run that reached this host, as it knows")
    sent_at: str | None = Field(None, max_length=40, description="For diagnosis only; never believed")

    @property
    def is_healthy(self) -> bool | None:
        """The word of the agent's own health check, None where it has none."""
        return self.health.healthy if self.health else None

    @property
    def health_reason(self) -> str | None:
        """Why it is not healthy, in its own words."""
        return self.health.reason if self.health else None

    @property
    def revision(self) -> str | None:
        """What it runs; None for "I can't tell", which changes nothing."""
        return self.release.revision if self.release else None

    @property
    def release_number(self) -> int | None:
        """The release that this belongs to, as far as the host knows."""
        return self.release.number if self.release else None

    def checked(self) -> Self:
        """The heartbeat with everything in it acceptable. Raises InvalidError. Done before the transaction."""
        reported.check_metrics(self.metrics)
        if self.revision is not None:
            reported.check_revision(self.revision)
        if self.facts is not None:
            reported.check_facts(self.facts)
        reported.check_line(self.health_reason, "health")
        return self
