from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from inventory_service.web.shedding import ReadLimiter, most_reads


class Slow:
    """An application whose answers stay open until they are closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Slow:
        if environ["PATH_INFO"] == "/broken":
            raise RuntimeError
        start_response("200 OK", [])
        return self

    def __iter__(self) -> Iterator[bytes]:
        yield b"x"

    def close(self) -> None:
        self.closed += 1


def test_it_sheds_reads_and_nothing_else() -> None:
    application = Slow()
    client = Client(ReadLimiter(application, threads=4))
    held = [client.get("/stages", buffered=False) for _ in range(3)]
    shed = client.get("/api/v1/projects", buffered=False)
    assert (shed.status_code, shed.headers["Retry-After"], shed.mimetype) == (503, "2", "application/problem+json")
    assert [client.post("/api/v1/heartbeat").status_code, client.get("/healthz").status_code] == [200, 200]
    held.pop().close()
    assert client.get("/stages", buffered=True).status_code == 200
    assert client.get("/stages", buffered=True).status_code == 200
    assert application.closed >= 3


def test_it_gives_a_place_back_after_an_error() -> None:
    client = Client(ReadLimiter(Slow(), threads=2))
    for _ in range(3):
        with pytest.raises(RuntimeError):
            client.get("/broken")
    assert client.get("/stages").status_code == 200


@pytest.mark.parametrize(("threads", "reads"), [(1, 1), (2, 1), (4, 3), (64, 56)])
def test_it_keeps_an_eighth_of_the_threads(threads: int, reads: int) -> None:
    assert most_reads(threads) == reads
