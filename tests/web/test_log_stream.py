from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory_service.web import log_stream
from inventory_service.web.log_stream import Piece

pytestmark = pytest.mark.usefixtures("database")


class Growing:
    """A log that a run writes to, piece by piece, each time the follower looks."""

    def __init__(self, file: Path, *pieces: bytes) -> None:
        self.file, self.pieces, self.looks = file, list(pieces), 0

    def is_ended(self, _: int) -> str | None:
        if not self.pieces:
            return "successful"
        with self.file.open("ab") as log:
            log.write(self.pieces.pop(0))
        return None


def follow(log: Growing, start: int = 0) -> Iterator[Piece]:
    return log_stream.follow(1, log.file, start, is_ended=log.is_ended)


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
    pieces = log_stream.follow(1, file, 0, is_ended=lambda _: "successful" if done.is_set() else None)
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
