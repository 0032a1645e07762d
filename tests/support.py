"""What the tests of the service share: a clock to turn by hand, callers of the API, a git repository."""

from __future__ import annotations

import base64
import datetime as dt
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inventory_service import wording
from inventory_service.database import database
from inventory_service.deployments.launching import launch
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.deployments.runs.outcome import Ending
from inventory_service.events import Actor, ActorKind
from inventory_service.models import Host, Run, Stage, StageLock, Transition
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import enrolment, heartbeats, hosts, join_tokens, liveness
from inventory_service.settings import Settings
from tests import documented

START = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.UTC)
ADA = Actor("ada", "192.0.2.7", kind=ActorKind.PERSON)
OWN_NETWORK = f"127.{50 + os.getpid() // 200 % 200}.{1 + os.getpid() % 200}"  # of this process's tests, to add ".7" to
GONE_AFTER_SECONDS = 86400.0


class FakeClock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self._now = START
        self._monotonic = 1000.0

    def now(self) -> dt.datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> dt.datetime:
        """Let time go by."""
        self._monotonic += seconds
        return self.jump(seconds)

    def jump(self, seconds: float) -> dt.datetime:
        """Set the wall clock forward or back."""
        self._now += dt.timedelta(seconds=seconds)
        return self._now


def expiry(at: dt.datetime) -> liveness.Expiry:
    return liveness.expiry(at=at, gone_after_seconds=GONE_AFTER_SECONDS)


def launched(
    stage: Stage, kind: str = "deploy", *, at: dt.datetime, settings: Settings | None = None, **fields: Any
) -> Run:
    """Ask for a run as Ada; fields of RunRequest. `settings`: she waits for the answer."""
    wanted = RunRequest(kind=kind, **fields)
    return launch.launch(stage, wanted, actor=ADA, expiry=expiry(at), settings=settings)


def key_line(kind: str = "ssh-ed25519", seed: int = 1) -> str:
    """A public key as `type base64`, with a blob that names the same type."""
    words = [kind.encode(), bytes([seed]) * 32]
    words += [] if kind == "ssh-ed25519" else [bytes([seed]) * 65]
    blob = b"".join(struct.pack(">I", len(word)) + word for word in words)
    return f"{kind} {base64.b64encode(blob).decode()}"


@dataclass
class Machine:
    """A machine that may enrol into a stage, and then beats with a rising sequence."""

    stage: Stage
    name: str = "web-1"
    address: str = "10.0.0.1"
    keys: tuple[str, ...] = (key_line(),)
    groups: tuple[str, ...] = ()
    boot_id: str = "b007"
    host_id: str = ""
    token: str = ""
    sequence: int = 0

    def enrol(self, at: dt.datetime, token: str = "") -> Machine:
        given = token or join_tokens.create(self.stage, actor=ADA, at=at, groups=list(self.groups))[1]
        request = enrolment.Enrolment(name=self.name, boot_id=self.boot_id, host_keys=self.keys)
        row, self.token = enrolment.enrol(given, request, peer=self.address, expiry=expiry(at))
        self.host_id = row.id
        return self

    @property
    def row(self) -> Host:
        return hosts.get_host(self.host_id)

    @property
    def why(self) -> dict[str, str | None]:
        """Its conflict, quarantine, … in the words that people read."""
        return words_of(self.row)

    def beat(self, at: dt.datetime, **said: Any) -> heartbeats.Renewal:
        self.sequence += 1000
        beat = Heartbeat(**{"boot_id": self.boot_id, "seq": self.sequence, **_nested(said)})
        return heartbeats.renew(self.token, beat, expiry=expiry(at))

    def history(self) -> list[tuple[str | None, str, float]]:
        """(from, to, seconds after START) of each transition, oldest first."""
        rows = Transition.select().where(Transition.host == self.host_id).order_by(Transition.id)
        return [(row.from_state, row.to_state, (row.at - START).total_seconds()) for row in rows]


def words_of(host: Host) -> dict[str, str | None]:
    """Why the host is in conflict, excluded from convergence, or gone, and where other keys were met; None each."""
    return {
        "conflict": wording.host.conflict(host.conflict_code, host.conflict_params),
        "key_mismatch": wording.host.key_mismatch(host.key_mismatch_code, host.key_mismatch_params),
        "quarantine": wording.host.quarantine(host.quarantine_code, host.quarantine_params),
        "gone": wording.host.gone(host.gone_code, host.gone_params),
    }


def _nested(said: dict[str, Any]) -> dict[str, Any]:
    """A heartbeat's fields from flat ones: `revision` and `release_number`, `is_healthy` and `health_reason`."""
    rest = dict(said)
    release = {"number": rest.pop("release_number", None), "revision": rest.pop("revision", None)}
    health = {"healthy": rest.pop("is_healthy", None), "reason": rest.pop("health_reason", None)}
    rest |= {} if release["revision"] is None else {"release": release}
    return rest | ({} if health["healthy"] is None else {"health": health})


class Caller:
    """Flask's test client with one token, calling from one address."""

    def __init__(self, client: FlaskClient, token: str | None, peer: str = "127.0.0.1") -> None:
        self.client, self.token, self.peer = client, token, peer

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= more.pop("headers", {})
        answer = self.client.open(
            path, method=method, json=body, headers=headers, environ_base={"REMOTE_ADDR": self.peer}, **more
        )
        documented.check(self.client.application, method, answer)
        return answer

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.send("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self.send("POST", path, {} if body is None else body, **more)

    def patch(self, path: str, body: Any, **more: Any) -> TestResponse:
        return self.send("PATCH", path, body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> TestResponse:
        return self.send("PUT", path, {} if body is None else body, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self.send("DELETE", path, **more)


class Repository:
    """A git repository with a work tree."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *words: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "ada@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        done = subprocess.run(["git", *words], cwd=self.folder, env=environment, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def commit(self, **files: str) -> str:
        """Write `name__yml="text"` as name.yml, commit, and return the commit's SHA."""
        for name, text in files.items():
            path = self.folder / name.replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "a change")
        return self.git("rev-parse", "HEAD")


def wait_for(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Return when it is so; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """Call `work(0…count-1)`, each in a thread of its own, all at once; returns results or the exceptions raised."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def call(number: int) -> None:
        barrier.wait()
        try:
            results[number] = work(number)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[number] = error
        finally:
            if database.obj is not None:
                database.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # let them get into each other's way
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    return results


def why(ended: Run | Ending) -> str:
    """Why a run ended, as people read it; empty for nothing."""
    reasons = ended.end_reasons if isinstance(ended, Run) else [one.to_json() for one in ended.reasons]
    return wording.run.ended(reasons) or ""


def why_locked(row: StageLock) -> str:
    """Why a stage is locked, as people read it."""
    return wording.lock.why(row.reasons)
