"""A run to take away: everything about it in one archive, or its results as JUnit XML for a CI server."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import json
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from inventory_service.codes import statuses
from inventory_service.deployments.runs import history, snapshot
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.errors import ConflictError, NotFoundError
from inventory_service.models import Run, RunEvent
from inventory_service.registry.stages import stage_name
from inventory_service.text import harmless
from inventory_service.web import answers
from inventory_service.wording import run as wording

_IN_MEMORY = 4 * 1024 * 1024
_PAGE = 2000
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TROUBLE = {"failed": "failure", "unreachable": "error"}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def check_ended(run: Run) -> None:
    """Raises ConflictError for a run that goes on: what was exported would be a part that looks like a whole."""
    if run.status not in statuses.ENDED:
        raise ConflictError(f"Run {run.id} is {run.status}; export it when it has ended.")


def tar(run: Run, log: RunLog | None) -> IO[bytes]:
    """A .tar.gz with one folder: run.json, snapshot.json, inventory.json, results.json, events.jsonl, log, junit.xml.

    `log` None: retention has removed log and events, so they are missing.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - who answers the request closes it
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
        for name, pieces in _members(run, log):
            _add(archive, f"run-{run.id}/{name}", pieces, at=int((run.ended_at or run.created_at).timestamp()))
    file.seek(0)
    return file


def _members(run: Run, log: RunLog | None) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield "run.json", [_json(answers.Run.of(run).to_json())]
    yield "results.json", [_json([answers.RunHost.of(row).to_json() for row in history.hosts_of_run(run)])]
    if run.snapshot:
        yield "snapshot.json", [_json({key: value for key, value in run.snapshot.items() if key != "inventory"})]
    with contextlib.suppress(NotFoundError):  # it ended before it had one, or was recorded from a laptop
        yield "inventory.json", [gzip.decompress(snapshot.packed_inventory(run))]
    if log is not None:
        yield "events.jsonl", (_line(answers.Event.of(event).to_json()) for event in _events(run))
        yield "log", log.pieces(0)
        yield "junit.xml", [junit(run)]


def _add(archive: tarfile.TarFile, name: str, pieces: Iterable[bytes], *, at: int) -> None:
    """A member's size stands in front of it, so it is gathered first; on disk where it is large."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as gathered:
        gathered.writelines(pieces)
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = gathered.tell(), at, 0o600
        gathered.seek(0)
        archive.addfile(member, gathered)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _events(run: Run) -> Iterator[RunEvent]:
    """In order, a page at a time."""
    after = -1
    while page := list(
        RunEvent.select()
        .where((RunEvent.run == run) & (RunEvent.counter > after))
        .order_by(RunEvent.counter)
        .limit(_PAGE)
    ):
        yield from page
        after = page[-1].counter


def junit(run: Run) -> bytes:
    """JUnit XML: a suite for the run itself, which fails when the run did, and one for each host with its tasks."""
    results = (RunEvent.run == run) & RunEvent.host.is_null(False) & RunEvent.status.is_null(False)
    events = RunEvent.select().where(results).order_by(RunEvent.host, RunEvent.counter).iterator()
    out = io.BytesIO()
    xml = XMLGenerator(out, "utf-8", short_empty_elements=True)
    xml.startDocument()
    with _element(xml, "testsuites", name=f"callboard run {run.id}"):
        _run_suite(xml, run)
        for host, of_host in itertools.groupby(events, key=lambda event: str(event.host)):
            _host_suite(xml, host, list(of_host))
    xml.endDocument()
    return out.getvalue()


@contextlib.contextmanager
def _element(xml: XMLGenerator, element: str, /, **attributes: object) -> Iterator[None]:
    xml.startElement(element, AttributesImpl({key: _text(str(value)) for key, value in attributes.items()}))
    yield
    xml.endElement(element)


def _run_suite(xml: XMLGenerator, run: Run) -> None:
    is_bad = run.status != statuses.SUCCESSFUL
    seconds = (run.ended_at - run.started_at).total_seconds() if run.started_at and run.ended_at else 0
    case = {"classname": stage_name(run.stage), "name": f"{run.kind} {run.playbook}", "time": f"{seconds:.3f}"}
    counts = {"tests": 1, "failures": int(is_bad), "errors": 0, "skipped": 0, "time": f"{seconds:.3f}"}
    with _element(xml, "testsuite", name="run", **counts), _element(xml, "testcase", **case):
        if is_bad:
            _trouble(xml, "failure", run.status, wording.ended(run.end_reasons) or "")


def _host_suite(xml: XMLGenerator, host: str, events: list[RunEvent]) -> None:
    outcomes = [_TROUBLE.get(event.status or "", event.status) for event in events]
    seconds = sum(event.duration_seconds or 0 for event in events)
    counts = {name: outcomes.count(outcome) for name, outcome in _COUNTED.items()}
    with _element(xml, "testsuite", name=host, tests=len(events), **counts, time=f"{seconds:.3f}"):
        for event, outcome in zip(events, outcomes, strict=True):
            case = {"classname": f"{host}.{event.play or ''}", "name": event.task or ""}
            with _element(xml, "testcase", **case, time=f"{event.duration_seconds or 0:.3f}"):
                if outcome in ("failure", "error"):
                    _trouble(xml, outcome, event.status or "", event.message or "")
                elif outcome == "skipped":
                    with _element(xml, "skipped"):
                        pass


def _trouble(xml: XMLGenerator, element: str, kind: str, message: str) -> None:
    with _element(xml, element, type=kind, message=message.partition("\n")[0][:200]):
        xml.characters(_text(message))


def _text(text: str) -> str:
    """What XML can hold of it; hosts choose some of these words."""
    return _NOT_XML.sub("", harmless(text, colours=False))
