"""Host names and group names of a stage must not meet: a host named `web` would take the group's place in plays."""

from __future__ import annotations

from collections.abc import Sequence

from inventory_service.errors import ConflictError
from inventory_service.models import Host, JoinToken, Stage
from inventory_service.registry import names
from inventory_service.registry.listing import read_present


def check_groups(stage: Stage, groups: list[str]) -> list[str]:
    """The groups, sorted and each once. Raises InvalidError for a bad name, ConflictError for a present host's."""
    checked = sorted({names.check_group(group) for group in groups})
    if not checked:  # as in every renewal by curl
        return []
    taken = Host.select().where((Host.stage == stage) & Host.gone_at.is_null() & Host.name.in_(checked)).first()
    if taken is not None:
        raise ConflictError(f"The stage has a host named {taken.name!r}; a group of that name would hide it in plays.")
    return checked


def refuse_group_name(stage: Stage, name: str, *, own: Sequence[str] = ()) -> None:
    """Raise ConflictError when a host's name is the name of one of the stage's groups, or of its `own`."""
    rows = [*JoinToken.select().where(JoinToken.stage == stage), *read_present(stage, groups=frozenset({name}))]
    if name in {*own, *(group for row in rows for group in row.groups)}:
        raise ConflictError(f"The stage has a group named {name!r}; a host of that name would take its place in plays.")
