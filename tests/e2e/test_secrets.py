"""Canaries of every kind, planted everywhere a run may meet a secret; then everything is searched for them."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import gzip
import html
import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sysconfig
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from ansible.constants import DEFAULT_VAULT_ID_MATCH
from ansible.parsing.vault import VaultLib, VaultSecret

from inventory_service.adapters import processes
from inventory_service.demo.hosts import make_keypair
from inventory_service.demo.machine import Machine
from inventory_service.demo.service import RunningService, free_port
from tests.e2e.conftest import ROOT, SETTINGS, SSH_PORT, USER, Site, all_pids, is_executor, wait_for
from tests.git_server import serving
from tests.support import OWN_NETWORK, Repository

CANARIES = {
    "project_var": "canary-Pr0ject'var&iable",
    "stage_var": 'canary-St4ge"variable%1',
    "lines": "canary-lines-first one\n  canary-lines-second\nshort\ncanary-lines-third=\n",
    "config": "password = canary-in-a-file\nother = canary-file-second-line\n",
    "vault_main": "canary-vault-password",
    "become": "canary-bec0me-password",
    "git": "canary-git-token",
    "launch": "canary-l4unch-value",
    "tagged": "canary-in-a-reference",
}
PLAYBOOK = """
- name: Leak whatever can be leaked
  hosts: all
  gather_facts: false
  vars_files: [vaulted.yml]
  tasks:
    - name: Wait until the test looks
      ansible.builtin.wait_for: {path: "{{ go }}", timeout: 60}
      delegate_to: localhost
      run_once: true
      connection: local

    - name: Print values
      ansible.builtin.debug:
        msg: ["{{ project_var }}", "{{ stage_var | b64encode }}", "{{ launch | urlencode }}", "{{ lines }}",
              "{{ ('user:' ~ launch) | b64encode }}", "{{ project_var | quote }}", "{{ holder.deep[0].token }}"]

    - name: Print every variable there is
      ansible.builtin.debug: {var: vars}

    - name: Print every variable of the host
      ansible.builtin.debug: {var: "hostvars[inventory_hostname]"}

    - name: Pass values to a command, name {{ project_var }}
      ansible.builtin.command: {argv: [printf, '%s\\n%s\\n', "{{ lines }}", "{{ stage_var }}"]}
      changed_when: false

    - name: Fail with a value in the message
      ansible.builtin.shell: {cmd: "tee /dev/stderr | base64; exit 3", stdin: "{{ stage_var }}"}
      ignore_errors: true
      changed_when: false

    - name: Fail in a module's own words
      ansible.builtin.fail: {msg: "could not sign in with {{ launch }}"}
      ignore_errors: true

    - name: Fail in a template
      ansible.builtin.debug: {msg: "{{ project_var | ansible.builtin.to_datetime }}"}
      ignore_errors: true

    - name: Show a difference
      ansible.builtin.copy: {src: "{{ config }}", dest: "{{ here }}/copied.ini", mode: "0600"}
      diff: true

    - name: Show a difference of a template
      ansible.builtin.copy: {content: "token = {{ launch }}\\n", dest: "{{ here }}/copied.txt", mode: "0600"}
      diff: true

    - name: Keep to yourself
      ansible.builtin.fail: {msg: "hidden by no_log"}
      no_log: true
      ignore_errors: true

    - name: Read the file
      ansible.builtin.command: cat {{ config }}
      delegate_to: localhost
      run_once: true
      connection: local
      changed_when: false

    - name: Become somebody
      ansible.builtin.command: id -u
      become: true
      become_method: ansible.builtin.sudo
      vars: {ansible_become_exe: "{{ become_program }}"}
      changed_when: false

    - name: Use what was in the vault
      ansible.builtin.assert: {that: from_the_vault | length == 24, quiet: true}

    - name: Fail with a value where Ansible's side cuts
      ansible.builtin.shell:
        cmd: "head -c 1048400 /dev/zero | tr '\\\\0' x; cat >&2; exit 3"
        stdin: "{{ launch * 10 }}"
      ignore_errors: true
      run_once: true

    - name: Print a long line with a value where it is cut
      ansible.builtin.debug: {msg: "{{ 'x' * 262122 }}{{ launch }}{{ 'y' * 200 }}"}
      run_once: true
"""
# On a laptop the values come from where the laptop keeps its own: the service only knows that they are secret here.
LAPTOP = """
- name: Leak from a laptop
  hosts: all
  connection: local
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - name: Print values, {{ told.project_var }}
      ansible.builtin.debug:
        msg: ["{{ told.project_var }}", "{{ told.lines }}", "{{ told.stage_var | b64encode }}", "{{ told.config }}"]

    - name: Fail with values
      ansible.builtin.fail: {msg: "{{ told.become }} {{ told.vault_main | urlencode }}"}
      ignore_errors: true

    - name: Fail with a value where the message is cut
      ansible.builtin.fail: {msg: "{{ 'x' * 1485 }}{{ told.tagged }}"}
      ignore_errors: true

    - name: Keep to yourself
      ansible.builtin.fail: {msg: "kept to itself"}
      no_log: true
      ignore_errors: true

    - name: Keep items to yourself
      ansible.builtin.command: "{{ item }}"
      loop: ["echo kept to itself", "false kept to itself"]
      no_log: true
      ignore_errors: true
"""
# As sudo with a password: it prompts, reads one line, and goes on only when that is the right one.
BECOME = """#!/bin/sh
while [ $# -gt 0 ]; do case "$1" in -p) prompt=$2; shift 2;; -u) shift 2;; -*) shift;; *) break;; esac; done
printf '%s' "$prompt" >&2
IFS= read -r word
[ "$(printf '%s' "$word" | sha256sum | cut -d' ' -f1)" = SUM ] || { echo "Sorry, try again." >&2; exit 1; }
exec "$@"
"""
_numbers = itertools.count(1)


@dataclasses.dataclass
class Planted:
    """A stage whose runs meet every canary. `traces` are the byte strings that must be found nowhere."""

    site: Site
    traces: dict[str, list[bytes]]
    key_lines: list[bytes]


def traces_of(value: str) -> list[bytes]:
    """What of a value would give it away: its longer lines, plain, quoted, and in base64."""
    found: list[bytes] = []
    for line in [one.strip() for one in value.splitlines() if len(one.strip()) > 10]:
        cores = [base64.b64encode(b"x" * shift + line.encode())[4:-4] for shift in range(3)]
        found += [line.encode(), urllib.parse.quote(line, safe="").encode(), line.encode().hex().encode(), *cores]
        found += [html.escape(line).encode(), line.replace('"', '\\"').encode()]
    return found


@pytest.fixture
def secret_service(tmp_path: Path) -> Iterator[RunningService]:
    running = RunningService(tmp_path / "service", port=free_port(), environment=SETTINGS)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def planted(secret_service: RunningService, tmp_path: Path) -> Iterator[Planted]:
    service, project = secret_service, f"shop{next(_numbers)}"
    repository = Repository(tmp_path / "git" / "shop")
    vault = VaultLib([(DEFAULT_VAULT_ID_MATCH, VaultSecret(CANARIES["vault_main"].encode()))])
    sealed = vault.encrypt(b"from_the_vault: twenty-four-characters-x\n", vault_id="vault_main").decode()
    repository.commit(leak__yml=PLAYBOOK, vaulted__yml=sealed, deploy__yml=PLAYBOOK)
    public = make_keypair(tmp_path / "host_key")
    key = (tmp_path / "host_key").read_text()
    (tmp_path / "become").write_text(BECOME.replace("SUM", _sha256(CANARIES["become"])))
    (tmp_path / "become").chmod(0o755)
    with serving(repository.folder.parent, f"ada:{CANARIES['git']}") as url:
        address = url.replace("//", f"//ada:{CANARIES['git']}@") + "/shop/.git"
        site = Site(service, f"{project}/test", tmp_path, {})
        _make_stage(site, address, tmp_path)
        _set_secrets(site, key)
        # The machine lets in nobody but the owner of the secret key.
        machine = Machine(
            "web-1",
            f"{OWN_NETWORK}.9",
            tmp_path / "web-1",
            service_url=service.url,
            authorized_key=public,
            ssh_port=SSH_PORT,
        )
        site.machines["web-1"] = machine
        machine.boot(site.join_token)
        key_lines = [line.encode() for line in key.splitlines()[2:-1]]
        values = {**CANARIES, "ssh_key": "\n".join(key.splitlines()[2:-1])}
        yield Planted(site, {name: traces_of(value) for name, value in values.items()}, key_lines)
        machine.kill()


def _sha256(text: str) -> str:
    done = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True)
    return done.stdout.split()[0].decode()


def _make_stage(site: Site, address: str, folder: Path) -> None:
    project = site.stage.partition("/")[0]
    variables = {"go": str(folder / "go"), "here": str(folder), "become_program": str(folder / "become")}
    variables["holder"] = {"deep": [{"token": {"$secret": "tagged"}}]}  # type: ignore[assignment]
    site.client.send("POST", "/api/v1/projects", {"name": project, "source": address})
    stage = {"name": "test", "interval_seconds": 1, "ttl_seconds": 3, "ansible_user": USER, "variables": variables}
    site.client.send("POST", f"/api/v1/projects/{project}/stages", {**stage, "default_revision": "main"})
    site.join_token = site.client.send("POST", f"{site.path}/join-tokens", {"networks": ["127.0.0.0/8"]})["token"]


def _set_secrets(site: Site, key: str) -> None:
    project = site.stage.partition("/")[0]
    wanted = [
        (project, "project_var", "variable", CANARIES["project_var"]),
        (project, "stage_var", "variable", "overridden-by-the-stage"),
        (site.stage, "stage_var", "variable", CANARIES["stage_var"]),
        (site.stage, "lines", "variable", CANARIES["lines"]),
        (site.stage, "tagged", "variable", CANARIES["tagged"]),
        (site.stage, "config", "file", CANARIES["config"]),
        (project, "vault_main", "vault_password", CANARIES["vault_main"]),
        (site.stage, "become", "become_password", CANARIES["become"]),
        (site.stage, "host_key", "ssh_key", key),
    ]
    for owner, name, kind, value in wanted:
        done = _callboard(site, ["secret", "set", owner, name, "--kind", kind], value)
        assert done.returncode == 0, done.stderr


def _callboard(site: Site, words: list[str], given: str) -> subprocess.CompletedProcess[str]:
    command = [os.sys.executable, "-m", "inventory_service.cli", *words]
    return subprocess.run(
        command, env=site.environment, input=given, capture_output=True, text=True, timeout=120, check=False
    )


def test_it_lets_no_canary_out(planted: Planted, tmp_path: Path) -> None:
    site = planted.site
    launched = _callboard(
        site,
        ["run", site.stage, "leak.yml", "--secret-vars", "-", "--detach", "-D"],
        f"launch: {CANARIES['launch']}\n",
    )
    run_id = int(launched.stdout)
    with _watching(planted) as seen:
        wait_for("the run to begin its work", lambda: "Wait until the test looks" in site.log(run_id))
        time.sleep(1)
        (tmp_path / "go").touch()
        run = site.ended(run_id, seconds=120)
    log = site.log(run_id)
    assert (run["status"], run["error"]) == ("successful", None), log[-3000:]
    assert _proof_of_use(log, tmp_path) == []
    assert CANARIES["launch"][:8] not in log
    assert seen.found == []
    assert seen.processes > 3, "the run was seen at work"
    repeated = site.client.send(
        "POST", f"/api/v1/runs/{run_id}/repeat", {"extra_vars_secret": {"launch": CANARIES["launch"]}}
    )
    assert site.ended(repeated["id"], seconds=120)["status"] == "successful"
    assert CANARIES["tagged"][:8] not in _play_on_laptop(planted, tmp_path / "laptop")
    failed = site.ended(_fail(site))
    assert failed["status"] == "failed"
    places = [
        *_database(site),
        *_files(site),
        *_answers(site),
        *_pages(site),
        ("cli", (launched.stdout + launched.stderr).encode()),
    ]
    assert len(places) > 80
    assert _found(planted, places) == []
    assert not list((site.service.data_dir / "runs").glob("*/work"))


def _play_on_laptop(planted: Planted, folder: Path) -> str:
    """Run a plain ansible-playbook that meets the stage's secrets; returns the log that the service has of it."""
    site = planted.site
    repository = Repository(folder)
    repository.commit(site__yml=LAPTOP, values__json=json.dumps({"told": CANARIES}))
    options = {"plugin": "registry", "url": site.service.url, "stages": [site.stage], "trusted_stage_variables": True}
    (folder / "registry.yml").write_text(json.dumps(options))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "CALLBOARD_"))}
    environment |= {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "CALLBOARD_TOKEN": site.service.token}
    environment |= {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
    program = Path(sysconfig.get_path("scripts")) / "ansible-playbook"
    command = [str(program), "-i", "registry.yml", "site.yml", "-e", "@values.json"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "callboard: recorded as run" in done.stderr, done.stdout + done.stderr
    (run,) = (row for row in site.client.get("/api/v1/runs")["items"] if row["origin"] == "external")
    log = site.log(run["id"])
    assert "********" in log, log
    assert "kept to itself" not in log, log
    assert "(hidden by no_log)" in log, log
    return log


def test_it_lets_no_canary_out_when_its_executor_is_killed(planted: Planted) -> None:
    site = planted.site
    launched = _callboard(
        site, ["run", site.stage, "leak.yml", "--secret-vars", "-", "--detach"], f"launch: {CANARIES['launch']}\n"
    )
    run_id = int(launched.stdout)
    wait_for("the run to begin its work", lambda: "Wait until the test looks" in site.log(run_id))
    mark = f"{site.service.data_dir}#{run_id}"
    executors = [pid for pid in all_pids() if is_executor(pid, run_id)]
    for pid in executors:
        os.kill(pid, signal.SIGKILL)
    assert executors
    assert site.ended(run_id)["status"] == "lost"
    wait_for("an end of what it started", lambda: not processes.marked("CALLBOARD_RUN", mark))
    wait_for("an empty work folder", lambda: not list((site.service.data_dir / "runs").glob("*/work")), seconds=90)
    assert _found(planted, [*_database(site), *_files(site), *_answers(site)]) == []


def _fail(site: Site) -> int:
    """A run that fails before Ansible is started: its source refuses the token."""
    return site.launch(playbook="leak.yml", revision="no-such-branch")


def _proof_of_use(log: str, folder: Path) -> list[str]:
    """That the secrets were there at all, and what was to be shown is shown."""
    wanted = {
        "values were printed": "********" in log,
        "names of variables are shown": '"project_var": "********"' in log,
        "no_log is respected": "hidden by no_log" not in log and "the output has been hidden" in log,
        "the host got the file": (folder / "copied.ini").read_text() == CANARIES["config"],
        "the host got the value": CANARIES["launch"] in (folder / "copied.txt").read_text(),
        "the difference is shown": "+token = ********" in log,
        "the template failed": "does not match format" in log,
        "the long line was cut": "[cut, " in log,
        "a value was cut on Ansible's side": re.search(r'"stderr": "\*+… \[cut, ', log) is not None,
    }
    return [name for name, is_so in wanted.items() if not is_so]


class _Watcher:
    """Looks at processes, and at files for the SSH key, while a run works."""

    def __init__(self, planted: Planted) -> None:
        self.found: list[str] = []
        self.processes = 0
        self._planted = planted
        self._commands: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.processes = len(self._commands)

    def _watch(self) -> None:
        traces = [(name, trace) for name, own in self._planted.traces.items() for trace in own]
        while not self._stop.wait(0.05):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look_at_process(entry, traces)
            with contextlib.suppress(OSError):
                self._look_at_files()

    def _look_at_process(self, entry: Path, traces: list[tuple[str, bytes]]) -> None:
        with contextlib.suppress(OSError):
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            if b"CALLBOARD_RUN=" not in environment and b"inventory_service" not in command and b"git" not in command:
                return  # also what runs on the host: a playbook that puts a secret into a command put it there
            self._commands.add(command)
            hits = [name for name, trace in traces if trace in command or trace in environment]
            self.found += [f"{name} in process {command[:200]!r}" for name in hits]

    def _look_at_files(self) -> None:
        for path in self._planted.site.service.data_dir.glob("runs/*/work/**/*"):
            with contextlib.suppress(OSError):
                if path.is_file() and any(line in path.read_bytes() for line in self._planted.key_lines):
                    self.found.append(f"the SSH key in {path}")
                if path.parent.name == "secrets" and path.stat().st_mode & 0o077:
                    self.found.append(f"{path} is not private")


@contextlib.contextmanager
def _watching(planted: Planted) -> Iterator[_Watcher]:
    watcher = _Watcher(planted)
    watcher.start()
    yield watcher
    watcher.stop()


Place = tuple[str, bytes]


def _found(planted: Planted, places: list[Place]) -> list[str]:
    return [
        f"{name} ({trace.decode()}) in {where}"
        for where, content in places
        for name, own in planted.traces.items()
        for trace in own
        if trace in content
    ]


def _database(site: Site) -> Iterator[Place]:
    """Every value of every row of every table; compressed ones unpacked."""
    with sqlite3.connect(site.service.data_dir / "callboard.db") as opened:
        for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for number, row in enumerate(opened.execute(f'SELECT * FROM "{table}"').fetchall()):
                yield f"table {table}, row {number}", b"\n".join(_as_bytes(value) for value in row)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return gzip.decompress(value) if value[:2] == b"\x1f\x8b" else value
    return str(value).encode()


def _files(site: Site) -> Iterator[Place]:
    """Every file of the service, the database's and its WAL's bytes and the logs among them."""
    for path in [*site.service.folder.rglob("*"), Path.home() / ".git-credentials", Path.home() / ".gitconfig"]:
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.suffix == ".gz":
                yield f"{path}, unpacked", gzip.decompress(path.read_bytes())


def _answers(site: Site) -> Iterator[Place]:
    """Every GET route of the API about everything that there is, and the refusals of odd calls."""
    project, _, stage = site.stage.partition("/")
    runs = [str(row["id"]) for row in site.client.get_all("/api/v1/runs")]
    hosts = [row["id"] for row in site.client.get_all(f"{site.path}/hosts")]
    values = {"project": [project], "stage": [stage], "run": runs, "other": runs, "host": hosts, "name": ["lines"]}
    document = site.client.get("/openapi/openapi.json")
    for path, item in document["paths"].items():
        names = re.findall(r"{(\w+)}", path)
        for chosen in itertools.product(*(values.get(name, ["x"]) for name in names)) if "get" in item else []:
            filled = path
            for name, value in zip(names, chosen, strict=True):
                filled = filled.replace(f"{{{name}}}", value)
            yield f"GET {filled}", _fetch(site, filled)
    for path in ("/metrics", "/readyz", "/openapi/openapi.json"):
        yield path, _fetch(site, path)


def _fetch(site: Site, path: str, opener: urllib.request.OpenerDirector | None = None) -> bytes:
    request = urllib.request.Request(site.service.url + path)
    if opener is None:
        request.add_header("Authorization", f"Bearer {site.service.token}")
    try:
        with (opener or urllib.request.build_opener()).open(request, timeout=30) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _pages(site: Site) -> Iterator[Place]:
    """Every page that can be reached by links from the dashboard."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    form = opener.open(f"{site.service.url}/sign-in", timeout=30).read().decode()
    token = re.search(r'name="csrf_token" value="([^"]+)"', form)[1]  # type: ignore[index]
    data = {"csrf_token": token, "name": "admin", "password": site.service.password}
    opener.open(f"{site.service.url}/sign-in", urllib.parse.urlencode(data).encode(), timeout=30)
    waiting, seen = ["/"], {"/"}
    while waiting:
        path = waiting.pop()
        content = _fetch(site, path, opener)
        yield f"page {path}", content
        links = re.findall(r'(?:href|hx-get|src)="(/[^"#]*)', content.decode(errors="replace"))
        for link in (html.unescape(one) for one in links if not one.startswith(("/static", "/sign-out"))):
            if link not in seen and len(seen) < 200:
                seen.add(link)
                waiting.append(link)
    assert len(seen) > 8
