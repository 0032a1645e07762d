"""What a stage's source offers to run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from inventory_service.deployments.source import sources
from inventory_service.models import Stage
from inventory_service.settings import Settings


def list_playbooks(stage: Stage, settings: Settings) -> list[dict[str, str]]:
    """{playbook, description} for each playbook of the stage's default revision. Raises SourceError."""
    source = sources.Source(stage.project, settings)
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        target = Path(folder) / "source"
        source.checkout(source.resolve(stage.default_revision), target)
        return sources.list_playbooks(target)
