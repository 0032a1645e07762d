"""The client against services that misbehave, spoken over a real socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from click.testing import CliRunner

from inventory_service.cli import main
from inventory_service.client import Client, ClientError

TOKEN = "cbu_abcdefghijkl." + "x" * 43
Serve = Callable[..., str]


def http(status: str, body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer one connection after the other with these bytes, the last one for ever; returns the URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(*answers: bytes) -> str:
        def run() -> None:
            left = list(answers)
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        threading.Thread(target=run, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    listener.close()


def told(url: str, *words: str, token: str = TOKEN) -> tuple[int, str]:
    """(exit code, what was said on stderr) of a command."""
    done = CliRunner().invoke(main, list(words), env={"CALLBOARD_URL": url, "CALLBOARD_TOKEN": token})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_says_in_one_line_that_the_service_is_down() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, error = told(url, "runs")
    assert code == 1
    assert error.startswith(f"callboard: The service at {url} could not be reached")
    assert len(error.splitlines()) == 1


def test_it_says_in_one_line_that_there_is_no_token() -> None:
    assert told("", "runs", token="") == (1, "callboard: No token: set CALLBOARD_TOKEN to one that begins with cbu_.\n")


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "localhost:8500",
        "file:///etc/passwd",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://a b/",
        "http://",
    ],
)
def test_it_says_in_one_line_that_the_url_is_wrong(url: str) -> None:
    code, error = told(url, "runs")
    assert code == 1, error
    assert len(error.splitlines()) == 1, error
    assert "CALLBOARD_URL" in error, error


@pytest.mark.parametrize("token", ["a\nb", "é€", "a\rb: c"])
def test_it_says_in_one_line_that_the_token_is_wrong(serve: Serve, token: str) -> None:
    code, error = told(serve(http("200 OK", b"{}")), "runs", token=token)
    assert (code, len(error.splitlines())) == (1, 1), error


def test_it_repeats_what_the_service_says_and_which_field_it_means(serve: Serve) -> None:
    fields = [{"loc": ["ttl_seconds"], "msg": "too short"}]
    problem = {"title": "Invalid", "status": 422, "detail": "It is not valid.", "errors": fields}
    url = serve(http("422 Unprocessable", json.dumps(problem).encode(), "application/problem+json"))
    assert told(url, "runs") == (1, "callboard: It is not valid.\n  ttl_seconds: too short\n")


def test_it_prints_no_escape_sequence_of_an_error(serve: Serve) -> None:
    problem = {
        "status": 404,
        "detail": "There is no \x1b]0;pwned\x07host.",
        "errors": [{"loc": ["\x1b[2J"], "msg": "x\x9b"}],
    }
    _, error = told(serve(http("404 Not Found", json.dumps(problem).encode())), "runs")
    assert not set(error) & {"\x1b", "\x07", "\x9b"}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        http("200 OK", b"<html>another service</html>", "text/html"),
        http("200 OK", b'{"items": '),
        http("200 OK", b"[]"),
        http("200 OK", b"\xff\xfe"),
        http("500 Oops", b"<html>", "text/html"),
        http("502 Bad Gateway", b"[]"),
        http("404 Not Found", b'{"detail": 17, "errors": 4}'),
        http("302 Found", b"", Location="http://evil.example/"),
        http("200 OK", b'{"items": []}')[:-5],
    ],
)
def test_it_says_in_one_line_that_the_answer_makes_no_sense(serve: Serve, answer: bytes) -> None:
    code, error = told(serve(answer), "runs")
    assert (code, len(error.splitlines()), error.startswith("callboard: ")) == (1, 1, True), error


def test_it_takes_no_redirect_with_its_token(serve: Serve) -> None:
    with pytest.raises(ClientError) as caught:
        Client(serve(http("307 Temporary Redirect", b"", Location="http://evil.example/")), TOKEN).get("/api/v1/runs")
    assert caught.value.status == 307


def test_it_reads_all_pages(serve: Serve) -> None:
    pages = [b'{"items": [{"id": 1}], "next": "1"}', b'{"items": [{"id": 2}], "next": null}']
    client = Client(serve(*[http("200 OK", page) for page in pages]), TOKEN)
    assert client.get_all("/api/v1/projects") == [{"id": 1}, {"id": 2}]


# following a run


def chunked(*pieces: bytes, is_whole: bool = True) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return head + body + (b"0\r\n\r\n" if is_whole else b"")


def run(status: str, error: str | None = None) -> bytes:
    row = {"id": 7, "kind": "deploy", "status": status, "release": 3, "hosts": [], "error": error, "snapshot": None}
    return http("200 OK", json.dumps({**row, "duration_seconds": 4.2}).encode())


@pytest.mark.parametrize(
    ("status", "code"), [("successful", 0), ("failed", 2), ("canceled", 3), ("lost", 4), ("timeout", 4)]
)
def test_it_ends_as_the_run_ended(serve: Serve, status: str, code: int) -> None:
    url = serve(chunked(b"TASK\n"), run(status))
    done = CliRunner().invoke(main, ["logs", "-f", "7"], env={"CALLBOARD_URL": url, "CALLBOARD_TOKEN": TOKEN})
    assert done.exit_code == code
    assert "TASK\n" in done.stdout
    assert f"Run 7 (deploy, release 3): {status} after 4 s" in done.stdout


def test_it_goes_on_after_the_connection_broke(serve: Serve) -> None:
    url = serve(
        chunked(b"one\n", is_whole=False),
        http("503 Busy", b'{"detail": "Busy."}'),
        chunked(b"two\n"),
        run("successful"),
    )
    done = CliRunner().invoke(main, ["logs", "-f", "7"], env={"CALLBOARD_URL": url, "CALLBOARD_TOKEN": TOKEN})
    assert done.exit_code == 0, done.output
    assert "one\n" in done.stdout
    assert "two\n" in done.stdout
    assert "the connection was lost" in done.stderr


def test_it_gives_up_at_once_on_a_run_that_there_is_not(serve: Serve) -> None:
    problem = {"status": 404, "detail": "There is no run 9."}
    code, error = told(serve(http("404 Not Found", json.dumps(problem).encode())), "logs", "-f", "9")
    assert (code, error) == (1, "callboard: There is no run 9.\n")


def test_it_shows_no_escape_sequence_of_a_log(serve: Serve) -> None:
    url = serve(chunked(b"\x1b]0;pwned\x07\x1b[2J\x1b[31mred\x1b[0m\n"))
    done = CliRunner().invoke(main, ["logs", "7"], env={"CALLBOARD_URL": url, "CALLBOARD_TOKEN": TOKEN})
    assert done.stdout == "red\n"


def test_it_quotes_what_stands_in_a_path(serve: Serve) -> None:
    problem = {"status": 404, "detail": "There is no project 'a b'."}
    url = serve(http("404 Not Found", json.dumps(problem).encode()))
    assert told(url, "project", "show", "a bé") == (1, "callboard: There is no project 'a b'.\n")
