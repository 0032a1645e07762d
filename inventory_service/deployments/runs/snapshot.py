"""The snapshot: everything that a run depends on, frozen at its start.

It stands in the run's row; the inventory, which may be large, in a table of its own. Secrets are in neither: values
that hold one name it (`{"$secret": "NAME"}`), and only the executor puts it in, in its memory.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import inventory_service
from inventory_service.adapters import galaxy, runner
from inventory_service.clock import iso
from inventory_service.codes.run import SnapshotNote
from inventory_service.deployments import variables
from inventory_service.deployments.executor.targets import Missing, Targets
from inventory_service.errors import NotFoundError
from inventory_service.models import Host, Release, Run, RunInventory, Stage
from inventory_service.reasons import Reason, because
from inventory_service.records import runs
from inventory_service.records.runs import SnapshotHost
from inventory_service.settings import Settings
from inventory_service.vault import store as secret_store

FORMAT = 1


def take(
    run: Run,
    *,
    targets: Targets,
    commit: str,
    release: Release | None,
    layers: Sequence[variables.Layer],
    source: Path,
    original: Run | None,
    settings: Settings,
    at: dt.datetime,
) -> dict[str, Any]:
    """The snapshot but for the inventory: plain JSON.

    `source` is the work tree of `commit`; `original` the run that this one repeats exactly.
    """
    tools = {
        "versions": {**runner.versions(), "callboard": inventory_service.__version__},
        "collections": galaxy.installed(source),
    }
    secrets = _secrets(run.stage)
    return {
        "format": FORMAT,
        "at": iso(at),
        "commit": commit,
        "revision": run.revision or (release.revision_name if release else run.stage.default_revision),
        "release": release.number if release else None,
        "hosts": [host.name for host in targets.chosen],
        "missing": [_missing(one) for one in targets.missing],
        "notes": [note.to_json() for note in (*targets.notes, *_differences(original, tools, secrets))],
        "options": _options(run, settings),
        "variables": list(layers),
        **tools,
        "secrets": secrets,
        "required_collections": galaxy.required(source),
    }


def _secrets(stage: Stage) -> dict[str, dict[str, Any]]:
    """Which secrets the run gets, and when each was set; never a value."""
    return {row.name: {"kind": row.kind, "set_at": iso(row.updated_at)} for row in secret_store.list_for_stage(stage)}


def _missing(one: Missing) -> dict[str, Any]:
    return {"host": one.name, "status": one.result, "code": str(one.note.code), "params": dict(one.note.params)}


def _differences(original: Run | None, tools: dict[str, Any], secrets: dict[str, Any]) -> list[Reason]:
    """What an exact repeat has otherwise than the run: tools on this machine and values of secrets are not frozen."""
    if original is None:
        return []
    kept, run = original.snapshot, original.id
    then, now = {**kept["versions"], **kept["collections"]}, {**tools["versions"], **tools["collections"]}
    notes = [
        because(SnapshotNote.OTHER_TOOL, tool=name, before=then.get(name), now=now.get(name), run=run)
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    known = kept.get("secrets", {})
    return notes + [
        because(SnapshotNote.SECRET_SET if name in secrets else SnapshotNote.SECRET_REMOVED, secret=name, run=run)
        for name in sorted(known.keys() | secrets.keys())
        if known.get(name) != secrets.get(name)
    ]


def _options(run: Run, settings: Settings) -> dict[str, Any]:
    return {
        "kind": run.kind,
        "playbook": run.playbook,
        "limit": run.limit,
        "exclude": run.exclude,
        "tags": run.tags,
        "skip_tags": run.skip_tags,
        "check": run.is_check,
        "diff": run.is_diff,
        "forks": settings.forks,
        "timeout_seconds": run.stage.run_timeout_seconds or settings.run_timeout_seconds,
    }


def store(run: Run, snapshot: dict[str, Any], targets: Targets) -> None:
    """Write the snapshot, the inventory and the run's hosts in one transaction."""
    content = gzip.compress(json.dumps(targets.listing).encode(), compresslevel=6, mtime=0)
    runs.store_snapshot(run, snapshot, content, [*map(_chosen, targets.chosen), *map(_absent, targets.missing)])


def _chosen(host: Host) -> SnapshotHost:
    return SnapshotHost(host.name, host.id, host.address, host.port, keys_digest(host))


def _absent(one: Missing) -> SnapshotHost:
    return SnapshotHost(one.name, one.host_id, one.address, one.port, result=one.result, note=one.note)


def keys_digest(host: Host) -> str:
    """Tells whether a host's SSH keys are the same as before."""
    return hashlib.sha256("\n".join(sorted(host.host_keys)).encode()).hexdigest()


def is_full(run: Run) -> bool:
    """Whether the run froze everything that an exact repeat needs."""
    return bool(run.snapshot) and run.snapshot.get("format") == FORMAT


def packed_inventory(run: Run) -> bytes:
    """The frozen inventory as gzipped JSON. Raises NotFoundError for a run that has not frozen one."""
    row = RunInventory.get_or_none(RunInventory.run == run.id)
    if row is not None:
        return bytes(row.content)
    if run.snapshot and "inventory" in run.snapshot:  # as runs of the first version kept it
        return gzip.compress(json.dumps(run.snapshot["inventory"]).encode(), mtime=0)
    raise NotFoundError(f"Run {run.id} has not frozen an inventory; it is {run.status}.")


def inventory(run: Run) -> dict[str, Any]:
    """The frozen inventory, as Ansible's --list has it. Raises NotFoundError for a run that has not frozen one."""
    frozen: dict[str, Any] = json.loads(gzip.decompress(packed_inventory(run)))
    return frozen


def effective_variables(run: Run) -> list[variables.Variable]:
    """The run's variables, each with its source. Raises NotFoundError for a run that has not frozen them."""
    if not is_full(run):
        raise NotFoundError(f"Run {run.id} has not frozen its variables; it is {run.status}.")
    return variables.effective(run.snapshot["variables"])
