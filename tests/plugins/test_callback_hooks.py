"""Both callback plugins, each hook called as Ansible does, with Ansible's own objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.executor import task_result
from ansible.executor.stats import AggregateStats
from ansible.executor.task_result import CallbackTaskResult
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.plugins.loader import callback_loader
from ansible.vars.manager import VariableManager

from ansible_collections.callboard.callboard.plugins.callback import callboard_run
from ansible_collections.callboard.callboard.plugins.plugin_utils import recorder

from .conftest import ROOT, TOKEN, Service
from .test_callback import take

try:
    from ansible._internal._task import UnifiedTaskResult  # since 2.21
except ImportError:
    UnifiedTaskResult = None

PLAYBOOK = """
- name: Work
  hosts: all
  gather_facts: false
  tasks:
    - {name: Greet, debug: {msg: hi}}
    - {name: Stop, fail: {msg: no route}}
- name: Elsewhere
  hosts: strangers
  gather_facts: false
  tasks:
    - {name: Greet, debug: {msg: hi}}
"""


class Ansible:
    """ansible-playbook's side: it tells a callback what happens to these hosts."""

    def __init__(self, folder: Path, callback: Any) -> None:
        self.callback = callback
        loader = DataLoader()
        self.inventory = InventoryManager(loader=loader, sources=None)
        variables = VariableManager(loader=loader, inventory=self.inventory)
        (folder / "site.yml").write_text(PLAYBOOK)
        self.playbook = Playbook.load(str(folder / "site.yml"), variable_manager=variables, loader=loader)
        self.stats = AggregateStats()
        for stage, names in {"shop/production": ("web-1", "web-2"), "shop/staging": ("test-1",)}.items():
            group = self.inventory.add_group(f"stage_{stage}".replace("/", "_"))
            self.inventory.groups[group].set_variable("callboard_stage", stage)
            for name in names:
                self.inventory.add_host(name, group)
        self.inventory.add_group("strangers")
        self.inventory.add_host("nas", "strangers")
        self.inventory.reconcile_inventory()

    def begin(self) -> None:
        self.callback.v2_playbook_on_start(self.playbook)

    def play(self, number: int = 0) -> None:
        self.tasks = {}
        play = self.playbook.get_plays()[number]
        self.callback.v2_playbook_on_play_start(play)
        for task in (task for block in play.compile() for task in block.block if task.action != "meta"):
            self.tasks[task.get_name()] = task

    def task(self, name: str = "Greet") -> None:
        self.running = self.tasks[name]
        self.callback.v2_playbook_on_task_start(self.running, is_conditional=False)

    def result(self, hook: str, host: str, told: dict[str, Any], **more: Any) -> None:
        one = self.inventory.get_host(host)
        self.callback.v2_runner_on_start(one, self.running)
        self.stats.increment("ok", host)
        getattr(self.callback, f"v2_runner_on_{hook}")(shown_result(one, self.running, told), **more)

    def end(self) -> None:
        self.callback.v2_playbook_on_stats(self.stats)


def shown_result(host: Any, task: Any, told: dict[str, Any]) -> Any:
    """What a module told, as Ansible shows it to callbacks."""
    if UnifiedTaskResult is not None:
        return CallbackTaskResult(host, task, UnifiedTaskResult.from_action_result_dict(told))
    raw: Any = task_result._RawTaskResult(host, task, told, task.dump_attrs())
    return raw.as_callback_task_result()


@pytest.fixture
def ansible(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ansible]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CALLBOARD_URL", service.url)
    monkeypatch.setenv("CALLBOARD_TOKEN", TOKEN)
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.05)
    take(service)
    callback_loader.add_directory(str(ROOT / "plugins" / "callback"))
    callback = callback_loader.get("callboard")
    callback.set_options()
    made = Ansible(tmp_path, callback)
    yield made
    callback._end_interrupted()


def sent(service: Service, kind: str) -> list[Any]:
    """What was sent under that name in all batches."""
    return [one for batch in service.posted for one in batch[kind]]


def results(service: Service) -> list[tuple[str, str, str | None]]:
    events = (event for event in sent(service, "events") if "status" in event)
    return [(event["host"], event["status"], event.get("message")) for event in events]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("ok", {"msg": "hi"}, {}), ("ok", None)),
        (("ok", {"changed": True}, {}), ("changed", None)),
        (("failed", {"msg": "no route"}, {}), ("failed", "no route")),
        (("failed", {"msg": "no route"}, {"ignore_errors": True}), ("ignored", "no route")),
        (("failed", {"_ansible_no_log": True, "msg": "secret"}, {}), ("failed", "(hidden by no_log)")),
        (("unreachable", {"unreachable": True, "msg": "gone"}, {}), ("unreachable", "gone")),
        (("skipped", {"skipped": True, "skip_reason": "when"}, {}), ("skipped", None)),
    ],
)
def test_it_tells_what_became_of_a_task(
    ansible: Ansible, service: Service, call: tuple[str, Any, Any], told: tuple[str, str | None]
) -> None:
    ansible.begin()
    ansible.play()
    ansible.task()
    hook, result, more = call
    ansible.result(hook, "web-1", result, **more)
    ansible.end()
    assert results(service) == [("web-1", *told)]
    assert service.posted[-1]["ending"]["hosts"]["web-1"]["ok"] == 1


def test_it_names_the_stage_and_says_only_what_happens_on_its_hosts(ansible: Ansible, service: Service) -> None:
    ansible.begin()
    ansible.play()
    ansible.task()
    for host in ("web-1", "test-1", "web-2"):
        ansible.result("ok", host, {})
    ansible.end()
    assert service.posted[0]["stage"] == "shop/production"
    assert [host for host, _, _ in results(service)] == ["web-1", "web-2"]
    assert set(sent(service, "hosts")) == {"web-1", "web-2", "nas"}
    assert set(service.posted[-1]["ending"]["hosts"]) == {"web-1", "web-2"}


def test_it_keeps_what_happened_before_it_knew_the_stage(ansible: Ansible, service: Service) -> None:
    ansible.begin()
    ansible.play(1)
    ansible.task()
    ansible.result("ok", "nas", {})
    assert service.posted == []
    ansible.play(0)
    ansible.task()
    ansible.result("ok", "web-1", {})
    ansible.end()
    assert [host for host, _, _ in results(service)] == ["nas", "web-1"]


def test_it_sends_nothing_of_a_playbook_without_a_stage(ansible: Ansible, service: Service) -> None:
    ansible.begin()
    ansible.play(1)
    ansible.task()
    ansible.result("ok", "nas", {})
    ansible.end()
    assert service.posted == []


def test_it_says_that_a_run_was_interrupted(ansible: Ansible, service: Service) -> None:
    ansible.begin()
    ansible.play()
    ansible.callback._end_interrupted()
    assert service.posted[-1]["ending"]["interrupted"] is True


# ── the limits of a run


def test_it_touches_nothing_without_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callboard_run, "LIMITS", None)
    monkeypatch.setattr(callboard_run, "apply", pytest.fail)
    assert callboard_run.CallbackModule().disabled


@pytest.mark.parametrize(
    ("limits", "words"),
    [("no json", "Expecting value"), ("{}", "'exclusion_socket'"), ('{"exclusion_socket": 1}', "'largest_text'")],
)
def test_limits_that_cannot_be_applied_end_the_process(
    untouched: None, capsys: pytest.CaptureFixture[str], limits: str, words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        callboard_run.apply(limits)
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("[ERROR]: callboard: the limits of a run can't be applied: ")
    assert words in line


@pytest.fixture
def untouched() -> Iterator[None]:
    """Ansible's own functions are as before when the test has ended."""
    from ansible.executor.task_queue_manager import TaskQueueManager  # noqa: PLC0415
    from ansible.plugins.strategy import StrategyBase  # noqa: PLC0415

    before = [dict(vars(one)) for one in (TaskQueueManager, StrategyBase)]
    yield
    for one, kept in zip((TaskQueueManager, StrategyBase), before, strict=True):
        for name, value in kept.items():
            if vars(one)[name] is not value:
                setattr(one, name, value)
