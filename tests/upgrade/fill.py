"""Fills a database through the code of commit aec9e55, the last one in which states were sentences.

Runs against that commit only. To make the fixture anew, from a checkout of it with its own environment:

    git worktree add ../old aec9e55 && cp -r tests/upgrade ../old/tests/ && cd ../old
    python -m tests.upgrade.fill

and take old.db.gz and expected.json.gz back from its tests/upgrade/.

It writes `old.db.gz`, the database, and `expected.json.gz`, what the old code answers about it at a fixed moment. That
needs git and Ansible, the folder /tmp/callboard-upgrade, and some minutes. `sentences.py` says what has to be in there,
and this fails when something is not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
from moto.server import ThreadedMotoServer

from inventory_service.clock import iso
from inventory_service.database import database
from inventory_service.deployments import convergence, locks, recovery, requests
from inventory_service.errors import CallboardError
from inventory_service.models import Host
from inventory_service.registry import enrolment, hosts, one_line, stages, sweep, watch
from inventory_service.registry.enrolment import Enrolment, IdentityRules
from inventory_service.scaling import hooks, loop, windows
from inventory_service.scaling import settings as scaling
from inventory_service.vault import store
from inventory_service.vault.store import Scope
from tests.fixtures.aws import LAUNCHING, TERMINATING, PlayedGroup
from tests.fixtures.aws import Aws as Played
from tests.registry.test_instance_identity import ACCOUNT, certificate, key, sign, text
from tests.scaling.conftest import LIMITS, REGION, TARGET, Aws, _cloud
from tests.support import Machine, Repository, key_line
from tests.upgrade import asked, sentences
from tests.upgrade.filler import ADA, CALLBOARD, DATA, GRACE, Box, Service

PRODUCTION, STAGING, EDGE, WEB, FLEET, LIVE = (
    "shop/production",
    "shop/staging",
    "shop/edge",
    "shop/web",
    "shop/fleet",
    "blog/live",
)
CONNECTION = "{{ 'ssh' if inventory_hostname in ['web-5', 'web-6'] else 'local' }}"
DEPLOY = """# Put the shop on its hosts
- hosts: all
  gather_facts: false
  serial: "{{ callboard_batches | default(['100%']) }}"
  max_fail_percentage: "{{ callboard_max_fail_percentage | default(0) }}"
  tasks:
    - name: Bring the release
      ansible.builtin.command: echo {{ callboard_release }}
      changed_when: true
    - name: Check it
      ansible.builtin.command: test ! -e /tmp/callboard-upgrade/broken-{{ inventory_hostname }}
      changed_when: false
"""
PLAYBOOKS = {
    "site__yml": """- hosts: all
  gather_facts: false
  tasks:
    - name: Say a word
      ansible.builtin.debug: {msg: "{{ greeting | default('hello') }} {{ word | default('') }}"}
""",
    "secret__yml": """- hosts: all
  gather_facts: false
  tasks:
    - name: Use the password
      ansible.builtin.command: echo {{ password }} {{ db_password }}
      changed_when: false
""",
    "fail__yml": """- hosts: all
  gather_facts: false
  tasks:
    - name: Look at the disk
      ansible.builtin.command: echo fine
      changed_when: false
    - name: Refuse
      ansible.builtin.fail: {msg: The disk of this host is full.}
      when: inventory_hostname == 'web-3'
""",
    "slow__yml": """- hosts: all
  gather_facts: false
  tasks:
    - name: Sleep long
      ansible.builtin.command: sleep 60
      changed_when: false
""",
    "batches__yml": """- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - name: Take a while
      ansible.builtin.command: sleep 6
      changed_when: false
""",
    "serial__yml": """- hosts: all
  gather_facts: false
  serial: 1
  tasks:
    - name: Touch it
      ansible.builtin.command: echo touched
      changed_when: false
""",
    "late__yml": """- hosts: all
  gather_facts: false
  serial: "{{ lookup('pipe', 'sleep 12; echo 1') }}"
  tasks:
    - name: Come late
      ansible.builtin.command: echo late
      changed_when: false
""",
    "nobody__yml": "- hosts: localhost\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: here}}]\n",
    "nogroup__yml": "- hosts: nosuch\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: here}}]\n",
    "drain__yml": "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: drained}}]\n",
    "asks__yml": "- hosts: all\n  gather_facts: false\n  tasks: [{ansible.builtin.debug: {msg: asked}}]\n",
}


class Fill:
    """One service and what happens to it, in order."""

    def __init__(self) -> None:
        self.s = Service()
        self.repository = Repository(DATA / "shop")
        self.marks: dict[str, str] = {}  # moments of the past to ask about
        self.tokens: dict[str, str] = {}
        self.joins: dict[str, str] = {}
        self.ssh_port = serve_ssh()
        self.heard = serve_http()

    def mark(self, name: str) -> None:
        self.marks[name] = iso(self.s.now) or ""

    def stage_path(self, name: str) -> str:
        return f"/stages/{name}"

    # who and what there is

    def accounts(self) -> None:
        s = self.s
        for name, role, projects in (
            ("ada", "admin", None),
            ("grace", "operator", ["shop"]),
            ("callboard", "operator", None),
            ("scaling", "viewer", None),
            ("linus", "viewer", ["blog"]),
        ):
            s.call(
                "POST", "/users", {"name": name, "password": f"{name}-0123456789", "role": role, "projects": projects}
            )
        s.call("PATCH", "/users/linus", {"disabled": True})
        s.call("PATCH", "/users/grace", {"password": "grace-9876543210"})
        for name, role, projects, expires in (
            ("ci", "operator", None, None),
            ("reader", "viewer", ["blog"], None),
            ("old", "viewer", None, iso(s.now + dt.timedelta(minutes=5))),
            ("lost", "admin", None, None),
        ):
            body = {"name": name, "role": role, "projects": projects, "expires_at": expires}
            made = s.call("POST", "/tokens", body)
            self.tokens[name] = made["token"]
        s.call("DELETE", f"/tokens/{made['id']}")

    def projects(self) -> None:
        s = self.s
        self.repository.commit(deploy__yml=DEPLOY, rollback__yml=DEPLOY.replace("Bring", "Go back to"), **PLAYBOOKS)
        self.repository.git("tag", "v1")
        self.repository.commit(README="two")
        self.repository.git("tag", "v2")
        blog = DATA / "blog"
        blog.mkdir()
        for name in ("deploy", "rollback"):
            (blog / f"{name}.yml").write_text(DEPLOY)
        source = {"name": "shop", "source": str(self.repository.folder), "description": "Sells", "variables": {"a": 1}}
        s.call("POST", "/projects", source)
        s.call("PATCH", "/projects/shop", {"description": "Sells compasses"})
        s.call("POST", "/projects", {"name": "blog", "source": f"{blog}/"})
        s.call("POST", "/projects", {"name": "docs", "source": "https://x:a-token@git.example.org/docs.git"})
        s.call("POST", "/projects", {"name": "old", "source": f"{blog}/"})
        local = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
        variables = {**local, "ansible_connection": CONNECTION, "greeting": "good day"}
        s.make_stage(PRODUCTION, variables=variables, has_convergence=True, description="What customers see")
        s.make_stage(STAGING, has_convergence=False, variables=local)
        s.make_stage(EDGE, has_approval=True, has_simple_join=True)
        s.make_stage(WEB, variables=local, has_convergence=False)
        s.make_stage(FLEET, has_convergence=False)
        s.make_stage("shop/retired")
        s.make_stage(LIVE, variables=local)
        s.make_stage("old/attic", variables=local)
        s.call("PATCH", self.stage_path(PRODUCTION), {"default_revision": "main", "batches": [1, "100%"]})

    def secrets(self) -> None:
        s = self.s
        base = "/projects/shop/secrets"
        s.call("PUT", f"{base}/api_key", {"value": "the api key of the shop"})
        s.call("PUT", f"{base}/licence", {"kind": "file", "value_base64": base64.b64encode(b"\0binary").decode()})
        s.call("PUT", f"{base}/gone", {"value": "soon removed"})
        s.call("DELETE", f"{base}/gone")
        own = f"{self.stage_path(PRODUCTION)}/secrets"
        s.call("PUT", f"{own}/db_password", {"value": "correct horse battery"})
        s.call("PUT", f"{own}/sudo", {"kind": "become_password", "value": "let me be root"})
        s.call("PUT", f"{own}/vault", {"kind": "vault_password", "value": "the vault's password"})
        store.put(
            Scope(stages.get_project("shop"), s.stage(PRODUCTION)),
            "by_ada",
            kind="variable",
            value=b"set by ada",
            settings=s.settings,
            actor=ADA,
            at=s.now,
        )

    def join_tokens(self) -> None:
        s = self.s
        for stage in (PRODUCTION, STAGING, EDGE, WEB, FLEET, "shop/retired", LIVE, "old/attic"):
            body = {"description": f"machines of {stage}", "groups": ["web"] if stage == PRODUCTION else []}
            self.joins[stage] = s.call("POST", f"{self.stage_path(stage)}/join-tokens", body)["token"]
        path = f"{self.stage_path(PRODUCTION)}/join-tokens"
        made = {
            "once": s.call("POST", path, {"maximum_uses": 1, "description": "once"}),
            "inside": s.call("POST", path, {"networks": ["10.0.0.0/8"]}),
            "soon": s.call("POST", path, {"expires_at": iso(s.now + dt.timedelta(minutes=2))}),
            "revoked": s.call("POST", path, {}),
        }
        s.call("DELETE", f"{path}/{made['revoked']['id']}")
        self.joins |= {name: one["token"] for name, one in made.items()}

    def automation(self) -> None:
        s, path = self.s, self.stage_path(PRODUCTION)
        every = sorted(asked.EVENTS)
        for url, name in ((f"json://127.0.0.1:{self.heard}/", "ops"), ("json://127.0.0.1:9/", "nobody listens")):
            s.call("POST", f"{path}/notifications", {"url": url, "events": every, "description": name})
        removed = s.call("POST", f"{path}/notifications", {"url": "json://127.0.0.1:9/"})
        s.call("DELETE", f"{path}/notifications/{removed['id']}")
        for stage in (STAGING, WEB):
            body = {"url": f"json://127.0.0.1:{self.heard}/", "events": every}
            s.call("POST", f"{self.stage_path(stage)}/notifications", body)
        self.hooks = {
            name: s.call("POST", f"{path}/webhooks", {"provider": name, "refs": ["branch:main", "tag:v*"]})
            for name in ("github", "gitlab")
        }
        gone = s.call("POST", f"{path}/webhooks", {"provider": "github", "refs": ["branch:x"]})
        s.call("DELETE", f"{path}/webhooks/{gone['id']}")
        s.tick()

    # machines of production

    def enrol_production(self) -> None:
        s = self.s
        self.web = {}
        for number in range(1, 5):
            self.web[number] = Box(s, f"web-{number}", f"10.0.0.{number}", seed=number)
        self.web[5] = Box(s, "web-5", "127.0.0.9", seed=5, port=1)
        self.web[6] = Box(s, "web-6", "127.0.0.8", seed=6, port=self.ssh_port)
        for number in (1, 2, 3):
            self.enter(self.web[number], PRODUCTION)
        self.web[1].says = {"health": {"healthy": True}}
        self.web[2].says = {"health": {"healthy": False, "reason": "the page answered 500"}}

    def enter(self, box: Box, stage: str) -> None:
        status, told = box.enrol(self.joins[stage])
        assert status in (201, 202), told

    def refusals(self) -> None:
        s = self.s
        stranger = Box(s, "stranger", "192.0.2.66", seed=66)
        known = self.joins["once"]
        assert stranger.enrol("cbj_abcdefabcdef_nonsensenonsensenonsense")[0] == 401
        assert stranger.enrol(self.joins["inside"])[0] == 401
        assert stranger.enrol(self.joins["revoked"])[0] == 401
        assert stranger.enrol(self.joins[PRODUCTION], address="10.9.9.9")[0] == 403
        once = Box(s, "web-9", "10.0.0.9", seed=9)
        assert once.enrol(known)[0] == 201
        assert stranger.enrol(known)[0] == 401
        once.goodbye()
        other_keys = Box(s, "web-1", "10.0.0.1", seed=77)
        assert other_keys.enrol(self.joins[PRODUCTION])[0] == 409
        same_address = Box(s, "web-77", "10.0.0.1", seed=78)
        assert same_address.enrol(self.joins[PRODUCTION])[0] == 409
        bad = Box(s, "stage_x", "10.0.0.78", seed=79)
        assert bad.enrol(self.joins[PRODUCTION])[0] == 422
        s.pass_time(150)
        assert stranger.enrol(self.joins["soon"])[0] == 401

    # runs

    def releases(self) -> None:
        s = self.s
        body = {"stage": PRODUCTION, "kind": "deploy", "revision": "v1", "comment": "The first one"}
        first = s.call("POST", "/runs", body, headers={"Idempotency-Key": "first"})
        again = s.call("POST", "/runs", body, headers={"Idempotency-Key": "first"})
        assert first["id"] == again["id"]
        s.execute(first["id"])
        self.mark("after release 1")
        s.call("PATCH", self.stage_path(PRODUCTION), {"variables": {**self.variables(), "greeting": "good evening"}})
        self.second = s.do(PRODUCTION, revision="v2", comment="The second", extra_vars={"word": "again"}).id
        s.do(PRODUCTION, "playbook", playbook="site.yml", limit="web-1,web-2", check=True, diff=True)
        secret = {"password": "a password nobody keeps"}
        self.secret = s.do(PRODUCTION, "playbook", playbook="secret.yml", extra_vars_secret=secret).id
        s.do(PRODUCTION, "playbook", playbook="site.yml", exclude=["web-1"], tags=["all"], skip_tags=["never"])
        self.first = int(first["id"])

    def variables(self) -> dict[str, Any]:
        found: dict[str, Any] = self.s.call("GET", self.stage_path(PRODUCTION))["variables"]
        return found

    def failures(self) -> None:
        s = self.s
        for number in (5, 6):
            self.enter(self.web[number], PRODUCTION)
        s.call("PATCH", f"/hosts/{self.web[6].id}", {"description": "at the office"})
        self.failed = s.do(PRODUCTION, "playbook", playbook="fail.yml").id
        self.web[6].is_up = False
        s.call("DELETE", f"{self.stage_path(PRODUCTION)}/hosts/web-5")
        self.web[5].is_up = False
        s.do(PRODUCTION, "playbook", playbook="nobody.yml", limit="web-1")
        s.do(PRODUCTION, "playbook", playbook="nogroup.yml", limit="web-1")
        s.do(PRODUCTION, "playbook", playbook="missing.yml", limit="web-1")
        s.do(PRODUCTION, "playbook", playbook="site.yml", revision="v9", limit="web-1")
        s.do(PRODUCTION, "playbook", playbook="site.yml", limit="nosuch")
        number = s.launch(PRODUCTION, "playbook", playbook="asks.yml", limit="web-1")
        self.repository.commit(asks__prompts__yml="- {name: colour, required: true}\n")
        s.execute(number)
        s.do(LIVE)

    def cancellations(self) -> None:
        s = self.s
        before = s.launch(PRODUCTION, "playbook", playbook="site.yml")
        s.call("POST", f"/runs/{before}/cancel")
        run = requests.request_run(
            s.stage(PRODUCTION), requests.RunRequest(kind="playbook", playbook="site.yml"), actor=GRACE, at=s.now
        )[0]
        requests.cancel(run, actor=GRACE, at=s.now)
        during = s.launch(PRODUCTION, "playbook", playbook="slow.yml", limit="web-1,web-2")
        s.execute(during, lambda _: requests.cancel(s.run(during), actor=ADA, at=s.now))
        s.call("PATCH", self.stage_path(PRODUCTION), {"run_timeout_seconds": 5})
        s.do(PRODUCTION, "playbook", playbook="slow.yml", limit="web-1")
        s.call("PATCH", self.stage_path(PRODUCTION), {"run_timeout_seconds": 0, "idle_timeout_seconds": 4})
        s.do(PRODUCTION, "playbook", playbook="slow.yml", limit="web-1")
        s.call("PATCH", self.stage_path(PRODUCTION), {"idle_timeout_seconds": 0})
        lost = s.launch(PRODUCTION, "playbook", playbook="slow.yml", limit="web-1,web-2")
        s.execute(lost, lambda child: os.kill(child.pid, signal.SIGKILL))
        s.pass_time(20)
        assert recovery.recover_lost(s.settings, at=s.now) == [lost]
        idle = s.launch(PRODUCTION, "playbook", playbook="late.yml", limit="web-1")
        s.execute(idle, lambda child: os.kill(child.pid, signal.SIGKILL), is_early=True)
        s.pass_time(20)
        assert recovery.recover_lost(s.settings, at=s.now) == [idle]
        early = s.launch(PRODUCTION, "playbook", playbook="slow.yml", limit="web-1")
        self.die_early(early)
        s.call("PATCH", self.stage_path(PRODUCTION), {"maximum_unreachable": ""})

    def die_early(self, number: int) -> None:
        """Its executor claims the run and dies before it has written anything down."""
        s = self.s
        code = (
            "import sys; from tests.upgrade import filler as f; from inventory_service.clock import parse_iso;"
            "f.open_database(f.load_settings().database_url);"
            f"f.execution.claim({number}, at=parse_iso('{iso(s.now)}'))"
        )
        environment = {"PATH": os.environ["PATH"], "HOME": str(DATA), "PYTHONPATH": str(Path.cwd())}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        s.pass_time(20)
        assert recovery.recover_lost(s.settings, at=s.now) == [number]

    def left_out(self) -> None:
        """Hosts that leave and fall silent while a run is at work, and bounds that are broken."""
        s = self.s
        extra = {number: Box(s, f"web-2{number}", f"10.0.1.{number}", seed=20 + number) for number in (1, 2, 3)}
        for box in extra.values():
            self.enter(box, PRODUCTION)
        extra[3].is_up = False
        s.pass_time(110)
        run = s.launch(PRODUCTION, "playbook", playbook="batches.yml", limit="web-1,web-21,web-22,web-23")
        s.execute(run, lambda _: extra[2].goodbye())
        run = s.launch(PRODUCTION, "playbook", playbook="batches.yml", limit="web-1,web-21")
        s.call("PATCH", self.stage_path(PRODUCTION), {"minimum_healthy": "100%"})
        s.execute(run, lambda _: extra[1].goodbye())
        s.call("PATCH", self.stage_path(PRODUCTION), {"minimum_healthy": "", "maximum_unreachable": "0"})
        again = Box(s, "web-5", "127.0.0.9", seed=5, port=1)
        self.enter(again, PRODUCTION)
        s.do(PRODUCTION, "playbook", playbook="serial.yml", limit="web-1,web-5")
        s.call("PATCH", self.stage_path(PRODUCTION), {"maximum_unreachable": "1"})
        s.do(PRODUCTION, "playbook", playbook="serial.yml", limit="web-1,web-5")
        s.call("PATCH", self.stage_path(PRODUCTION), {"maximum_unreachable": ""})
        again.goodbye()
        only = Box(s, "web-24", "10.0.1.24", seed=24)
        self.enter(only, PRODUCTION)
        only.is_up = False
        s.pass_time(112)  # its lease runs out between the run's start and its first batch
        s.do(PRODUCTION, "playbook", playbook="late.yml", limit="web-24")
        self.mark("hosts that left")

    def broken(self, *names: str) -> None:
        """On these hosts deploys fail from now on, on no others."""
        for file in DATA.glob("broken-*"):
            file.unlink()
        for name in names:
            (DATA / f"broken-{name}").touch()

    def repeats(self) -> None:
        s = self.s
        ci = self.tokens["ci"]
        exact = s.call("POST", f"/runs/{self.second}/repeat", {"mode": "exact"}, token=ci)["id"]
        s.execute(exact)
        live = s.call("POST", f"/runs/{self.failed}/repeat", {"mode": "live", "comment": "once more"}, token=ci)["id"]
        s.execute(live)
        self.replacement = Box(s, "web-4", "10.0.0.44", seed=44)
        self.enter(self.web[4], PRODUCTION)
        base = s.do(PRODUCTION, "playbook", playbook="site.yml", limit="web-1,web-4").id
        self.web[4].is_up = False
        s.pass_time(150)
        self.enter(self.replacement, PRODUCTION)  # the stale one is replaced
        s.execute(s.call("POST", f"/runs/{base}/repeat", {"mode": "exact"})["id"])
        alone = s.do(PRODUCTION, "playbook", playbook="site.yml", limit="web-4").id
        self.replacement.goodbye()
        s.execute(s.call("POST", f"/runs/{alone}/repeat", {"mode": "exact"})["id"])
        s.call("PUT", f"{self.stage_path(PRODUCTION)}/secrets/db_password", {"value": "another battery"})
        secret = {"mode": "exact", "extra_vars_secret": {"password": "given again"}}
        s.execute(s.call("POST", f"/runs/{self.secret}/repeat", secret)["id"])
        self.web[4].is_up = self.replacement.is_up = False

    def converge(self) -> None:
        s = self.s
        stage = s.stage(PRODUCTION)
        self.broken("web-30")
        bad = Box(s, "web-30", "10.0.0.30", seed=30)
        self.enter(bad, PRODUCTION)
        for _ in range(6):
            found = convergence.converge_all(judge=s.judge())
            for number in found:
                s.execute(number)
            if hosts.get_host(bad.id).is_quarantined:
                break
            s.pass_time(330)
        assert hosts.get_host(bad.id).is_quarantined
        self.mark("convergence gave up")
        newcomer = Box(s, "web-31", "10.0.0.31", seed=31)
        self.enter(newcomer, PRODUCTION)
        (number,) = convergence.converge_all(judge=s.judge())
        newcomer.goodbye()
        s.execute(number)  # nobody is behind any more
        typed = Box(s, "web-32", "10.0.0.32", seed=32)
        self.enter(typed, PRODUCTION)
        reason = "Convergence gave up: I typed that by hand"
        hosts.change(hosts.get_host(typed.id), actor=ADA, at=s.now, is_quarantined=True, reason=reason)
        box = Box(s, "web-33", "10.0.0.33", seed=33)
        self.enter(box, PRODUCTION)
        s.call("PATCH", f"/hosts/{box.id}", {"quarantined": True, "reason": "smells of smoke"})
        bare = Box(s, "web-34", "10.0.0.34", seed=34)
        self.enter(bare, PRODUCTION)
        hosts.change(hosts.get_host(bare.id), actor=GRACE, at=s.now, is_quarantined=True)
        person = convergence.converge_now(
            stage,
            requests.RunRequest(kind="converge", limit="web-1", comment="by a person of that name"),
            is_releasing=False,
            actor=CALLBOARD,
            judge=s.judge(),
        )[0]
        s.execute(person.id)
        released = hosts.change(hosts.get_host(bare.id), actor=ADA, at=s.now, is_quarantined=False, is_draining=True)
        assert released.quarantine_reason == ""

    def rollouts(self) -> None:
        s = self.s
        self.broken("web-2", "web-30")
        s.call("PATCH", self.stage_path(PRODUCTION), {"auto_rollback": True, "batches": [1]})
        self.repository.commit(README="three")
        limit = "web-1,web-2,web-3"
        stopped = s.do(PRODUCTION, revision="main", limit=limit)
        back = s.call("GET", f"/runs/{stopped.id}")["rolled_back_by"]
        s.execute(back)  # fails as well: the host is still broken
        self.mark("rollback failed")
        s.call("DELETE", f"{self.stage_path(PRODUCTION)}/lock")
        locks.lock(s.stage(PRODUCTION), reason="I look into it", actor=GRACE, at=s.now)
        over = s.launch(PRODUCTION, revision="main", limit=limit, override_lock="the look is over")
        waiting = s.launch(PRODUCTION, "playbook", playbook="site.yml")
        s.execute(over)
        s.call("POST", f"/runs/{waiting}/cancel")
        back = s.call("GET", f"/runs/{over}")["rolled_back_by"]
        self.broken("web-30")
        s.execute(back)
        self.mark("rolled back")
        locks.unlock(s.stage(PRODUCTION), actor=ADA, at=s.now)
        s.do(PRODUCTION, "rollback", release=1, limit="web-3", comment="web-3 goes back")
        s.do(LIVE)  # nobody there yet
        self.broken("blog-1", "web-30")
        blog = Box(s, "blog-1", "10.5.0.1", seed=51)
        self.enter(blog, LIVE)
        s.call("PATCH", self.stage_path(LIVE), {"auto_rollback": True})
        s.do(LIVE)  # there is no release before it
        s.call("DELETE", f"{self.stage_path(LIVE)}/lock")
        self.broken("web-30")
        s.do(LIVE)
        self.broken("blog-1", "web-30")
        (DATA / "blog" / "page").write_text("new")
        stopped = s.do(LIVE)
        self.broken("web-30")
        s.execute(s.call("GET", f"/runs/{stopped.id}")["rolled_back_by"])

    def laptops(self) -> None:
        s = self.s
        head = {"stage": PRODUCTION, "user": "ada", "machine": "ada-laptop", "started_at": iso(s.now)}

        def send(number: int, **fields: Any) -> Any:
            body = {"id": f"{number:032x}", "playbook": "site.yml", **head, **fields}
            return s.call("POST", "/runs/recorded", body, token=self.tokens["ci"])

        told = {"event": "runner_on_ok", "host": "web-1", "task": "Say", "status": "ok", "log_start": 0, "log_end": 3}
        event = {"counter": 1, "at": iso(s.now), **told}
        failed = {**event, "counter": 2, "event": "runner_on_failed", "status": "failed", "message": "It broke."}
        send(1, hosts=["web-1", "localhost"], commit="c" * 40, dirty=True, extra_vars=["password"], log="one\n")
        send(1, events=[event], log="two correct horse battery\n", log_start=4)
        ends = {"ended_at": iso(s.now)}
        send(1, ending={**ends, "hosts": {"web-1": {"ok": 2, "changed": 1}, "localhost": {"ok": 1}}})
        send(2, hosts=["web-1"], events=[event, failed], ending={**ends, "hosts": {"web-1": {"ok": 1, "failed": 1}}})
        send(3, hosts=["web-1"], playbook="deploy.yml", ending={**ends, "interrupted": True, "hosts": {}})
        send(4, hosts=["web-1"])
        send(5, hosts=["web-1"])
        s.pass_time(640)
        send(5, hosts=["web-1"], log="back\n")

    def webhook_deliveries(self) -> None:
        s = self.s
        sha = self.repository.git("rev-parse", "main")

        def github(content: dict[str, Any], event: str = "push") -> Any:
            body = json.dumps(content).encode()
            digest = hmac.new(self.hooks["github"]["secret"].encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={digest}"}
            path = f"/api/v1/webhooks/{self.hooks['github']['id']}"
            return s.client.post(path, data=body, headers={"Content-Type": "application/json", **headers}).get_json()

        push = {"ref": "refs/heads/main", "after": sha, "deleted": False, "pusher": {"name": "ada"}}
        push["head_commit"] = {"id": sha, "message": "Sell compasses"}
        first = github(push)
        assert first["outcome"] == "deployed", first
        github(push)  # repeated
        second = github({**push, "after": self.repository.git("rev-parse", "v2")})  # the older one is canceled
        github({"zen": "x"}, "ping")
        github({**push, "deleted": True, "after": "0" * 40})
        github({**push, "ref": "refs/heads/other"})
        s.call("POST", f"/runs/{second['run']}/cancel")
        secret = self.hooks["gitlab"]["secret"]
        body = {"ref": "refs/tags/v2", "after": "b" * 40, "checkout_sha": sha, "user_username": "ada"}
        headers = {"X-Gitlab-Event": "Tag Push Hook", "X-Gitlab-Token": secret}
        run = s.client.post(f"/api/v1/webhooks/{self.hooks['gitlab']['id']}", json=body, headers=headers).get_json()
        s.call("POST", f"/runs/{run['run']}/cancel")
        self.push = (github, push)

    def schedules(self) -> None:
        s, path = self.s, f"{self.stage_path(PRODUCTION)}/schedules"
        minute = (s.now + dt.timedelta(minutes=2)).strftime("%M %H * * *")
        each = {"cron": minute, "kind": "playbook", "playbook": "site.yml", "limit": "web-1"}
        s.call("POST", path, {"name": "nightly", **each, "timezone": "UTC"})
        s.call("POST", path, {"name": "paused", **each})
        s.call("PATCH", f"{path}/paused", {"enabled": False})
        s.call("POST", path, {"name": "resumed", "cron": "0 4 * * 1", "timezone": "Europe/Berlin", "kind": "converge"})
        s.call("PATCH", f"{path}/resumed", {"enabled": False})
        s.call("PATCH", f"{path}/resumed", {"enabled": True})
        s.call("POST", path, {"name": "removed", **each})
        s.call("DELETE", f"{path}/removed")
        often = {"cron": "*/5 * * * *", "kind": "playbook", "playbook": "site.yml", "limit": "web-1"}
        s.call("POST", path, {"name": "often", **often})
        s.pass_time(900)  # often starts a run that still waits at its next time
        for run in s.call("GET", "/runs?status=queued")["items"]:
            s.execute(run["id"])
        s.pass_time(60)
        s.call("PATCH", f"{path}/often", {"enabled": False})
        hour = (s.now + dt.timedelta(minutes=5)).strftime("%M %H * * *")
        s.call("POST", path, {"name": "missed", **often, "cron": hour})
        self.sleep(1500)  # no worker was there
        for run in s.call("GET", "/runs?status=queued")["items"]:
            s.call("POST", f"/runs/{run['id']}/cancel")

    def sleep(self, seconds: float) -> None:
        """The worker stands still; machines are heard."""
        for _ in range(int(seconds / 30)):
            self.s.clock.advance(30)
            self.s.beat_all()
        self.s.tick()
        self.s.pass_time(30)

    # hosts' lives

    def edge(self) -> None:
        s, path = self.s, self.stage_path(EDGE)
        first, second, third = (Box(s, f"edge-{n}", f"10.2.0.{n}", seed=100 + n) for n in (1, 2, 3))
        for box in (first, second, third):
            self.enter(box, EDGE)
        hosts.approve(hosts.get_host(first.id), actor=ADA, at=s.now)
        s.call("PATCH", f"/hosts/{second.id}", {"approved": True})
        join, peer = self.joins[EDGE], {"peer": "10.2.0.10"}
        s.call("PUT", f"{path}/hosts/10.2.0.10", token=join, **peer)
        s.call("PATCH", f"/hosts/{self.host_of(EDGE, '10.2.0.10')}", {"approved": True})
        s.call("PUT", f"{path}/hosts/10.2.0.11", token=join, peer="10.2.0.11")
        s.call("PUT", f"{path}/hosts/10.2.0.12", {"groups": ["db"], "port": 2222})
        one_line.put(s.stage(EDGE), "10.2.0.13", actor=ADA, judge=s.judge(), groups=[], port=None)
        s.call("PUT", f"{path}/hosts/10.2.0.14", token=join, peer="10.2.0.14")
        s.call("PUT", f"{path}/hosts/10.2.0.14")  # an operator's word is an approval
        s.pass_time(20)
        s.call("DELETE", f"{path}/hosts/10.2.0.10", token=join, **peer)
        one_line.remove(s.stage(EDGE), "10.2.0.13", actor=ADA, at=s.now)
        s.pass_time(150)  # 10.2.0.12 is stale
        s.call("PUT", f"{path}/hosts/10.2.0.12")
        s.pass_time(30)

    def host_of(self, stage: str, name: str) -> str:
        rows = self.s.call("GET", f"{self.stage_path(stage)}/hosts?limit=500")["items"]
        return next(str(row["id"]) for row in rows if row["name"] == name)

    def lives(self) -> None:  # noqa: PLR0915 - one life after the other
        """In staging: silent and back, enrolled again, cloned, the same address, rotated, replaced, gone."""
        s = self.s
        boxes = {n: Box(s, f"app-{n}", f"10.3.0.{n}", seed=120 + n) for n in range(1, 9)}
        for box in boxes.values():
            self.enter(box, STAGING)
        base = s.do(STAGING, "playbook", playbook="site.yml", limit="app-1,app-5,app-8").id
        boxes[1].is_up = False
        s.pass_time(160)
        boxes[1].is_up = True  # stale, then heard
        s.pass_time(40)
        boxes[2].is_up = False
        s.pass_time(160)
        boxes[2].boot_id, boxes[2].sequence = "b007-again", 0
        self.enter(boxes[2], STAGING)  # enrolled again
        boxes[3].is_up = False
        s.pass_time(160)
        self.mark("app-3 is stale")
        twin = Box(s, "twin-3", "10.3.0.3", seed=131)
        self.enter(twin, STAGING)
        boxes[3].beat()  # back, at another one's address
        s.pass_time(60)
        self.mark("app-3 in conflict")
        twin.goodbye()
        s.pass_time(60)
        other = Box(s, "twin-8", "10.3.0.8", seed=138)
        boxes[8].is_up = False
        s.pass_time(160)
        self.enter(other, STAGING)
        boxes[8].is_up = True  # stays in conflict
        s.pass_time(60)
        clone = boxes[4]
        before, sequence = clone.boot_id, clone.sequence
        clone.boot_id, clone.sequence = "b007-second", 0
        clone.beat()
        s.pass_time(90)
        token = clone.token
        said = s.ask(
            "POST", "/heartbeat", {"boot_id": before, "seq": sequence + 900_000}, token=token, peer=clone.address
        )
        assert said[0] == 409, said
        self.mark("app-4 cloned")
        boxes[5].token = s.call("POST", "/rotate", token=boxes[5].token)["token"]
        s.pass_time(60)
        cloned = boxes[6]
        before, sequence = cloned.boot_id, cloned.sequence
        cloned.boot_id, cloned.sequence = "b007-third", 0
        cloned.beat()
        s.pass_time(90)
        s.ask("POST", "/heartbeat", {"boot_id": before, "seq": sequence + 900_000}, token=cloned.token)
        cloned.boot_id, cloned.sequence = "b007-fourth", 0
        self.enter(cloned, STAGING)  # the conflict ends
        s.pass_time(60)
        vouched = boxes[7]
        Box(s, "app-7", vouched.address, seed=140).enrol(self.joins[STAGING])
        s.call("PATCH", f"/hosts/{vouched.id}", {"host_keys": vouched.keys, "groups": ["db"], "draining": True})
        boxes[5].is_up = False
        s.pass_time(160)
        s.call("PATCH", f"/hosts/{boxes[1].id}", {"host_keys": [key_line(seed=199)]})
        s.execute(s.call("POST", f"/runs/{base}/repeat", {"mode": "exact"})["id"])

    def freezes(self) -> None:
        s = self.s
        crowd = [Box(s, f"crowd-{n}", f"10.4.0.{n}", seed=150 + n) for n in range(1, 9)]
        for box in crowd:
            self.enter(box, STAGING)
        s.pass_time(40)
        for box in crowd[:6]:
            box.is_up = False
        s.pass_time(90)
        self.mark("staging frozen")
        for box in crowd[:6]:
            box.is_up = True
        s.pass_time(60)  # calm: it ends well
        self.mark("staging thawed")
        for box in crowd[:6]:
            box.is_up = False
        s.pass_time(90)
        sweep.expire_late(s.stage(STAGING), actor=ADA, judge=s.judge())
        self.mark("staging expired")
        s.call("POST", f"{self.stage_path(STAGING)}/expire")
        s.pass_time(300)
        for box in crowd[:3]:
            box.is_up = True
        s.pass_time(60)
        self.crowd = crowd
        s.canary = watch.make_canary()
        s.pass_time(60)
        canary, s.canary = s.canary, ""
        s.pass_time(60)
        self.mark("deaf")
        s.canary = canary
        s.pass_time(60)
        self.mark("heard again")

    def frozen_runs(self) -> None:
        """Production freezes between the asking and the start."""
        s = self.s
        newcomer = Box(s, "web-40", "10.0.0.40", seed=40)
        self.enter(newcomer, PRODUCTION)
        found = convergence.converge_all(judge=s.judge())
        asked_for = s.launch(PRODUCTION, "playbook", playbook="site.yml")
        crowd = [Box(s, f"much-{n}", f"10.6.0.{n}", seed=160 + n) for n in range(1, 12)]
        for box in crowd:
            self.enter(box, PRODUCTION)
        s.pass_time(40)
        for box in crowd:
            box.is_up = False
        s.pass_time(80)
        assert s.judge().is_frozen(s.stage(PRODUCTION))
        s.execute(asked_for)
        for number in found:
            s.execute(number)
        github, push = self.push
        assert github({**push, "after": self.repository.git("rev-parse", "v1")})["outcome"] == "refused"
        minute = (s.now + dt.timedelta(minutes=1)).strftime("%M %H * * *")
        body = {"name": "frozen", "cron": minute, "kind": "playbook", "playbook": "site.yml"}
        s.call("POST", f"{self.stage_path(PRODUCTION)}/schedules", body)
        s.pass_time(70)
        for box in crowd:
            box.is_up = True
        s.pass_time(60)
        for box in crowd[:10]:
            box.goodbye()
        newcomer.goodbye()
        s.pass_time(30)

    def archive(self) -> None:
        s = self.s
        box = Box(s, "old-1", "10.7.0.1", seed=171)
        self.enter(box, "shop/retired")
        s.launch("shop/retired", "playbook", playbook="site.yml")
        stages.archive_stage(s.stage("shop/retired"), actor=ADA, at=s.now)
        box.is_up = False
        attic = Box(s, "attic-1", "10.8.0.1", seed=172)
        self.enter(attic, "old/attic")
        s.do("old/attic")
        s.launch("old/attic")
        s.call("DELETE", "/projects/old")
        attic.is_up = False
        assert Box(s, "old-2", "10.7.0.2", seed=173).enrol(self.joins["shop/retired"])[0] == 401

    # EC2

    def cloud(self) -> None:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
        self.aws = Aws(f"http://{host}:{port}")
        self.played = Played(f"http://{host}:{port}", REGION)
        os.environ["AWS_ENDPOINT_URL"] = self.played.url
        names = {LAUNCHING: "greet", TERMINATING: "farewell"}
        self.group = PlayedGroup("shop-web", self.aws.template, self.aws.subnets, maximum=6, hooks=names)
        self.played.groups["shop-web"] = self.group
        self.actuator = {"type": scaling.GROUP, "region": REGION, "name": "shop-web"}
        self.actuator |= {"launching_hook": "greet", "terminating_hook": "farewell"}

    def cloud_of(self, region: str) -> Any:
        return _cloud(region, os.environ["AWS_ENDPOINT_URL"])

    def configure(self, stage: str = WEB, actuator: Any = None, **more: Any) -> None:
        s = self.s
        fields = {
            "limits": LIMITS,
            "policy_texts": [{**TARGET, "window_seconds": 120}],
            "is_enabled": True,
            "is_dry_run": False,
            **more,
        }
        given = self.actuator if actuator is None else actuator
        scaling.configure(s.stage(stage), actuator=given, actor=ADA, at=s.now, **fields)

    def tend(self) -> list[int]:
        return hooks.tend_all(self.cloud_of, judge=self.s.judge())

    def look(self) -> list[int]:
        return loop.scale_all(self.cloud_of, judge=self.s.judge())

    def minutes(self, load: float) -> list[int]:
        """Under this load for longer than the policy's window; then the loop has a look."""
        self.s.load = load
        self.s.pass_time(200)
        windows.sample(judge=self.s.judge())
        return self.look()

    def enrol_instances(self) -> list[Machine]:
        """Every member of the group that has not enrolled does so, with AWS's word."""
        s, made = self.s, []
        for member in self.group.members.values():
            if member.id in s.machines:
                continue
            number = len(s.machines) + 1
            machine = Machine(s.stage(WEB), name=member.id, address=f"10.9.0.{number}").enrol(s.now, self.joins[WEB])
            Host.update(instance=f"{ACCOUNT}/{REGION}/{member.id}").where(Host.id == machine.host_id).execute()
            s.machines[member.id] = machine
            made.append(machine)
        return made

    def launch_instances(self, count: int) -> None:
        self.group.desired += count
        self.played.settle(self.group)

    def scale(self) -> None:  # noqa: PLR0915 - one day after the other
        s = self.s
        self.configure(drain_playbook="drain.yml")
        self.launch_instances(2)
        self.tend()
        self.enrol_instances()
        s.pass_time(30)
        self.tend()  # continued: live, nothing is desired yet
        s.do(WEB)  # release 1
        release = s.call("GET", self.stage_path(WEB))["desired_release"]
        self.launch_instances(1)
        self.tend()
        (third,) = self.enrol_instances()
        s.pass_time(20)
        self.tend()  # it is being brought to release 1
        third.says = {"release_number": release["number"], "revision": release["revision"], "is_healthy": False}
        third.says |= {"health_reason": "the page answered 500"}
        s.pass_time(40)
        self.tend()  # it is not healthy
        third.says["is_healthy"] = True
        s.pass_time(40)
        self.tend()
        self.launch_instances(1)
        self.tend()
        (fourth,) = self.enrol_instances()
        hosts.change(hosts.get_host(fourth.host_id), actor=ADA, at=s.now, is_quarantined=True, reason="a bad disk")
        self.group.desired -= 1
        s.pass_time(20)
        self.tend()  # abandoned
        fourth.is_silent = True
        self.configure(limits={**LIMITS, "scale_out_cooldown_seconds": 900}, drain_playbook="drain.yml")
        self.minutes(0.9)  # out
        self.finish_launches(release)
        self.minutes(1.4)  # held: the cooldown
        self.minutes(0.6)  # right as it is
        for number in self.minutes(0.1):  # in
            s.execute(number)
        self.look()
        s.pass_time(20)
        self.tend()  # the group waits for our word, though the machine was ended by us
        self.configure(drain_playbook="missing.yml")
        for number in self.minutes(0.05):
            s.execute(number)
        self.look()  # its drain failed
        self.configure(drain_playbook="drain.yml")
        self.played.fail("SetDesiredCapacity", "AccessDenied", status=403)
        self.minutes(1.5)
        self.configure(is_dry_run=True)
        self.minutes(1.5)
        self.configure(drain_playbook="drain.yml")
        waiting = s.launch(WEB, "playbook", playbook="site.yml")
        self.minutes(0.05)  # held: a run
        s.call("POST", f"/runs/{waiting}/cancel")
        first = next(one for one in self.group.members.values() if one.state == "InService")
        self.group.desired -= 1
        self.played.terminate(self.group, first)  # the group ends one itself
        for number in self.tend():
            s.execute(number)
        s.pass_time(20)
        self.tend()

    def finish_launches(self, release: dict[str, Any]) -> None:
        s = self.s
        for machine in self.enrol_instances():
            machine.says = {"release_number": release["number"], "revision": release["revision"]}
        s.pass_time(40)
        self.tend()
        s.pass_time(40)
        self.tend()

    def ended_instances(self) -> None:
        """EC2 ends and stops machines behind our back; one beats after its end, one enrols again."""
        s = self.s
        s.load = 0.5
        self.configure(limits={**LIMITS, "minimum": 2})
        s.pass_time(200)
        serving = [one for one in self.group.members.values() if one.state == "InService"]
        self.group.desired = len(serving)
        ended = serving[0]
        self.aws.ec2.terminate_instances(InstanceIds=[ended.id])
        self.look()
        machine = s.machines[ended.id]
        s.pass_time(150)
        with contextlib.suppress(CallboardError):
            machine.beat(s.now)
        with contextlib.suppress(CallboardError):
            machine.beat(s.now)
        again = Machine(s.stage(WEB), name=f"{ended.id}b", address="10.9.1.1").enrol(s.now, self.joins[WEB])
        Host.update(instance=f"{ACCOUNT}/{REGION}/{ended.id}").where(Host.id == again.host_id).execute()
        s.pass_time(20)
        self.look()
        self.launch_instances(2)
        self.finish_launches(s.call("GET", self.stage_path(WEB))["desired_release"])
        fresh = list(self.group.members.values())[-2:]
        self.aws.ec2.stop_instances(InstanceIds=[fresh[0].id])
        self.look()
        s.machines[fresh[1].id].is_silent = True
        self.launch_instances(1)  # one that never enrols
        s.pass_time(200)
        self.tend()
        s.pass_time(500)
        self.look()

    def word_of_aws(self) -> None:
        """In fleet: an instance that was expected enrols with its document; others are refused."""
        s = self.s
        subnets = ",".join(self.aws.subnets)
        template = {"LaunchTemplateId": self.aws.template, "Version": "$Default"}
        sizes = {"MinSize": 0, "MaxSize": 6, "DesiredCapacity": 2}
        named = {"AutoScalingGroupName": "shop-fleet"}
        self.aws.groups.create_auto_scaling_group(**named, LaunchTemplate=template, **sizes, VPCZoneIdentifier=subnets)
        self.launch_instances(1)
        self.tend()
        self.configure(is_enabled=False)
        self.tend()  # the stage answers no hooks now
        played, os.environ["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"], self.played.moto_url
        actuator = {"type": scaling.GROUP, "region": REGION, "name": "shop-fleet"}
        self.configure(FLEET, actuator, limits={**LIMITS, "minimum": 2})
        found = self.aws.groups.describe_auto_scaling_groups(AutoScalingGroupNames=["shop-fleet"])
        ids = [one["InstanceId"] for one in found["AutoScalingGroups"][0]["Instances"]]
        tags = [{"Key": "callboard:groups", "Value": "web, db"}]
        self.aws.ec2.create_tags(Resources=ids[:1], Tags=tags)
        other = [{"Key": "callboard:groups", "Value": "no-group!"}]
        self.aws.ec2.create_tags(Resources=ids[1:], Tags=other)
        loop_of = lambda region: _cloud(region, os.environ["AWS_ENDPOINT_URL"])  # noqa: E731
        loop.scale_all(loop_of, judge=s.judge())
        rules = IdentityRules(
            REGION, (ACCOUNT,), {REGION: certificate(key("aws"), begins=s.now - dt.timedelta(days=9))}
        )

        def enter(name: str, instance: str, address: str, *, is_signed: bool = True) -> None:
            said = text(instanceId=instance, pendingTime=s.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
            request = Enrolment(name=name, identity=(said, sign(said) if is_signed else "AAAA"))
            with contextlib.suppress(CallboardError):
                enrolment.enrol(self.joins[FLEET], request, peer=address, judge=s.judge(), rules=rules)

        enter("fleet-1", ids[0], "10.10.0.1")
        enter("fleet-2", ids[0], "10.10.0.2")  # replayed
        enter("fleet-3", ids[1], "10.10.0.3", is_signed=False)
        enter("fleet-4", ids[1], "10.10.0.4")
        enter("fleet-5", "i-0123456789abcdef0", "10.10.0.5")  # of no stage
        s.pass_time(20)
        loop.scale_all(loop_of, judge=s.judge())
        self.aws.groups.delete_auto_scaling_group(**named, ForceDelete=True)
        s.pass_time(20)
        loop.scale_all(loop_of, judge=s.judge())  # the group is gone
        os.environ["AWS_ENDPOINT_URL"] = played
        self.configure()
        self.configure(EDGE)
        scaling.remove(s.stage(EDGE), actor=ADA, at=s.now)

    # the end

    def finally_(self) -> None:
        """What is open at the fixed moment: a queued and a locked one, freezes, a waiting hook, conflicts."""
        s = self.s
        locks.lock(s.stage(STAGING), reason="Somebody counts the hosts", actor=CALLBOARD, at=s.now)
        locks.lock(s.stage(PRODUCTION), reason="Until Monday", actor=GRACE, at=s.now)
        s.launch(PRODUCTION, "deploy", comment="waits", extra_vars_secret={"password": "kept until it ends"})
        s.canary = s.canary or watch.make_canary()
        s.pass_time(30)
        for box in self.crowd:
            box.is_up = True
        s.pass_time(70)
        for box in self.crowd:
            box.is_up = False
        s.canary = ""
        self.launch_instances(1)
        self.tend()  # one waits
        s.pass_time(100)
        assert s.stage(STAGING).frozen_at
        assert watch.read_global().frozen_at


def serve_ssh() -> int:
    """An SSH server whose key is on nobody's record."""
    ready: list[int] = []

    async def serve() -> None:
        made = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen("127.0.0.8", 0, server_host_keys=[made])
        ready.append(server.get_port())
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    while not ready:
        threading.Event().wait(0.05)
    return ready[0]


def serve_http() -> int:
    """Takes every message."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


STEPS = (
    "accounts",
    "projects",
    "secrets",
    "join_tokens",
    "automation",
    "enrol_production",
    "refusals",
    "releases",
    "failures",
    "cancellations",
    "left_out",
    "repeats",
    "converge",
    "rollouts",
    "laptops",
    "webhook_deliveries",
    "schedules",
    "edge",
    "lives",
    "freezes",
    "frozen_runs",
    "archive",
    "cloud",
    "scale",
    "ended_instances",
    "word_of_aws",
    "finally_",
)


def main() -> None:
    fill = Fill()
    for step in STEPS:
        print(f"--- {step} {iso(fill.s.now)}")
        getattr(fill, step)()
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    asked.write(fill)
    missing = sentences.missing(fill.s.settings.database_url.removeprefix("sqlite:///"))
    for line in missing:
        print("missing:", line)
    assert not missing


if __name__ == "__main__":
    main()
