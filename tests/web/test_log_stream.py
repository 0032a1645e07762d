from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.database import database as opened
from inventory_service.deployments.executor import event_writer
from inventory_service.deployments.runs.logs import RunLog
from inventory_service.errors import BusyError
from inventory_service.models import Run
from inventory_service.web import log_stream
from inventory_service.web.log_stream import Piece, Streams

pytestmark = pytest.mark.usefixtures("database")


class Growing:
    """A log that a run writes to, piece by piece, each time the follower looks."""

    def __init__(self, file: Path, *pieces: bytes) -> None:
        self.file, self.pieces, self.looks = file, list(pieces), 0

    def is_ended(self) -> str | None:
        if not self.pieces:
            return "successful"
        with self.file.open("ab") as log:
            log.write(self.pieces.pop(0))
        return None


def follow(log: Growing, start: int = 0) -> Iterator[Piece]:
    return log_stream.follow(RunLog(1, log.file), start, is_ended=log.is_ended)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_it_yields_what_is_written_while_it_looks(file: Path) -> None:
    pieces = list(follow(Growing(file, b"one\n", b"two\n")))
    assert pieces == [Piece("one\n", 4), Piece("two\n", 8), Piece("", 8, "successful")]


def test_it_yields_what_was_written_just_before_the_end(file: Path) -> None:
    file.write_text("late\n")
    assert [piece.text for piece in follow(Growing(file))] == ["late\n", ""]


def test_it_waits_for_a_log_that_is_not_there_yet(file: Path) -> None:
    assert list(follow(Growing(file))) == [Piece("", 0, "successful")]


def test_it_never_cuts_a_character_in_two(file: Path) -> None:
    halves = [b"gr\xc3", b"\xbc\xc3", b"\x9f"]
    assert "".join(piece.text for piece in follow(Growing(file, *halves))) == "grüß"


def test_it_resumes_before_half_a_character(file: Path) -> None:
    first = next(follow(Growing(file, b"gr\xc3", b"\xbc\xc3\x9f\n")))
    file.write_bytes(b"gr\xc3\xbc\xc3\x9f\n")
    assert first.text + next(follow(Growing(file, b""), first.end)).text == "grüß\n"


def test_it_follows_the_copy_of_another_machines_log(run: Run, file: Path) -> None:
    words = [b"one\n", b"two\n"]

    def is_ended() -> str | None:
        if not words:
            return "successful"
        event_writer.copy_log(run.id, 8 - 4 * len(words), words.pop(0))
        return None

    pieces = log_stream.follow(RunLog(run.id, file), 0, is_ended=is_ended)
    assert [piece.text for piece in pieces] == ["one\n", "two\n", ""]


def test_it_holds_no_connection_while_a_client_reads(run: Run, file: Path) -> None:
    event_writer.copy_log(run.id, 0, b"one\n")
    for _ in log_stream.follow(RunLog(run.id, file), 0, is_ended=lambda: Run.get_by_id(run.id) and "successful"):
        assert opened.is_closed()


def test_it_resumes_at_a_byte(file: Path) -> None:
    assert [piece.text for piece in follow(Growing(file, b"one\ntwo\n"), 4)] == ["two\n", ""]


def test_it_reads_a_large_log_in_pieces(file: Path) -> None:
    file.write_bytes(b"x" * 200_000)
    assert [len(piece.text) for piece in follow(Growing(file))] == [65536, 65536, 65536, 3392, 0]


def test_it_follows_a_log_that_another_thread_writes(file: Path) -> None:
    done = threading.Event()

    def write() -> None:
        with file.open("ab") as log:
            for number in range(200):
                log.write(f"{number}\n".encode())
                log.flush()
        done.set()

    threading.Thread(target=write).start()
    pieces = log_stream.follow(RunLog(1, file), 0, is_ended=lambda: "successful" if done.is_set() else None)
    assert "".join(piece.text for piece in pieces).split() == [str(number) for number in range(200)]


@pytest.mark.parametrize(
    ("last", "start", "expected"), [(None, 5, 5), ("7", 5, 7), ("0", 5, 0), ("", 5, 5), ("x", 5, 5), ("-1", 5, 5)]
)
def test_it_begins_after_what_was_seen(last: str | None, start: int, expected: int) -> None:
    assert log_stream.resume_from(last, start) == expected


def test_it_writes_server_sent_events() -> None:
    pieces = iter([Piece("a\nb", 3), Piece("", 3), Piece("", 3, "lost")])
    assert list(log_stream.as_events(pieces)) == [
        'event: log\nid: 3\ndata: {"text": "a\\nb"}\n\n',
        ": still running\n\n",
        'event: end\nid: 3\ndata: {"status": "lost"}\n\n',
    ]


def test_it_keeps_hostile_text_on_its_data_line() -> None:
    (event,) = log_stream.as_events(iter([Piece("\n\nevent: end\ndata: {}\r\u2028", 1)]))
    assert len(event.splitlines()) == 4


# how many, and for how long


def test_it_ends_when_the_process_stops(file: Path) -> None:
    streams = Streams(1)
    streams.stopping.set()
    file.write_text("one\n")
    pieces = log_stream.follow(RunLog(1, file), 0, is_ended=lambda: None, stopping=streams.stopping)
    assert list(pieces) == [Piece("one\n", 4)]


def test_it_ends_a_text_that_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "_QUIET_SECONDS", -1)
    assert list(log_stream.as_text(iter([Piece("one", 3), Piece("", 3), Piece("late", 7)]))) == ["one"]


def test_it_refuses_one_stream_too_many_and_counts_those_that_are_closed() -> None:
    streams = Streams(2)
    begun, unread = streams.counted(iter("ab")), streams.counted(iter("ab"))
    next(begun)
    with pytest.raises(BusyError, match="2 live logs are being followed"):
        streams.counted(iter("ab"))
    unread.close()
    unread.close()
    assert list(streams.counted(iter("ab"))) == ["a", "b"]
    begun.close()
    for _ in range(2):
        streams.counted(iter("ab"))


def test_it_counts_a_stream_that_broke() -> None:
    streams = Streams(1)
    broken = streams.counted(map(int, ["1", "x"]))
    with pytest.raises(ValueError, match="x"):
        list(broken)
    streams.counted(iter(""))
