"""Forgetting the events and logs of old runs. The runs stay, with their snapshots and what they did to each host."""

from __future__ import annotations

import datetime as dt
import shutil

import peewee as pw

from inventory_service.codes import statuses
from inventory_service.database import database
from inventory_service.models import Run, RunEvent, RunLogChunk, Stage
from inventory_service.records import runs
from inventory_service.settings import Settings

_RUNS = 20
_ROWS = 500
_CHUNKS = 32
_MOST_BATCHES = 100


def prune_runs(settings: Settings, *, at: dt.datetime) -> int:
    """Remove what is too old or too much, in transactions of a few hundred rows; returns how many rows went.

    The next tick goes on where this one stopped. A run that has not ended is never touched.
    """
    marked = _mark(_due(settings, at=at), at=at)
    removed = 0
    for _ in range(_MOST_BATCHES):
        batch = _remove_batch()
        removed += batch
        if batch == 0:
            break
    return removed + marked


def _due(settings: Settings, *, at: dt.datetime) -> list[int]:
    """Runs that have ended, still have their events, and are too old or not among their stage's newest."""
    has_events = Run.status.in_(statuses.ENDED) & Run.events_removed_at.is_null()
    old = Run.select(Run.id).where(has_events & (Run.ended_at < at - dt.timedelta(days=settings.event_days)))
    due = [row.id for row in old.order_by(Run.id).limit(_RUNS)]
    for stage in Stage.select(Stage.id):
        mine = Run.select(Run.id).where(has_events & (Run.stage == stage)).order_by(Run.id.desc())
        due += [row.id for row in mine.offset(settings.event_runs).limit(_RUNS)]
    return due


def _mark(ids: list[int], *, at: dt.datetime) -> int:
    """From here on nobody reads them, so that nobody sees half of them."""
    return runs.remove_events(ids, at=at)


def _remove_batch() -> int:
    with database.atomic():
        return _remove(RunEvent, RunEvent.counter, _ROWS) or _remove(RunLogChunk, RunLogChunk.start, _CHUNKS)


def _remove(model: type[RunEvent | RunLogChunk], key: pw.Field, most: int) -> int:
    """Delete up to `most` rows of one marked run, the oldest first."""
    left = model.select(model.run).where(model.run == Run.id)
    run = Run.select(Run.id).where(Run.events_removed_at.is_null(False) & pw.fn.EXISTS(left)).order_by(Run.id).first()
    if run is None:
        return 0
    first = model.select(key).where(model.run == run).order_by(key).limit(most)
    return int(model.delete().where((model.run == run) & key.in_(first)).execute())


def clear_folders(settings: Settings) -> int:
    """Delete this machine's folders of runs whose events were removed; returns how many."""
    folder = settings.data_dir / "runs"
    here = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()) if folder.is_dir() else []
    gone = 0
    for batch in pw.chunked(here, _ROWS):
        marked = Run.select(Run.id).where(Run.id.in_(batch) & Run.events_removed_at.is_null(False))
        for run in marked:
            shutil.rmtree(settings.run_dir(run.id), ignore_errors=True)
            gone += 1
    return gone
