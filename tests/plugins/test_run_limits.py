"""The limits of a run, put into a real ansible-playbook; and what happens on a core that they do not fit."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.callboard.callboard.plugins.plugin_utils import ansible_internals as core
from ansible_collections.callboard.callboard.plugins.plugin_utils.run_limits import Cutter
from inventory_service.vault.masking import MASK, Masker
from tests.plugins.conftest import ROOT, Controller, answer, host

SECRET = "canary-4711-of-the-till"
LARGEST = 2**20
WATCHER = """
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "watcher"

    def v2_runner_on_ok(self, result):
        print("seen", len(str(result._result.get("msg"))), len(str(result.result.get("msg"))))
"""
PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  serial: 1
  tasks:
    - debug: {msg: "{{ 'x' * 5000 }}"}
      register: said
    - assert: {that: said.msg | length == 5000}
"""
UNREACHABLE = """
- hosts: all
  strategy: {strategy}
  gather_facts: false
  vars: {{ansible_connection: "{{{{ 'local' if callboard_local is defined else 'ssh' }}}}"}}
  tasks:
    - raw: "true"
    - debug: {{msg: "second task on {{{{ inventory_hostname }}}}"}}
- hosts: all
  gather_facts: false
  tasks:
    - debug: {{msg: "second play on {{{{ inventory_hostname }}}}"}}
"""


@pytest.mark.parametrize("left", [*range(1, len(SECRET)), len(SECRET), 40])
def test_a_secret_at_the_cut_is_masked_like_every_other(left: int) -> None:
    result = {"stdout": "x" * (LARGEST - left), "stderr": SECRET + "y" * 100}
    cut = Cutter(LARGEST).cut(result)
    assert cut["stderr"].startswith(f"{SECRET[:left]}")
    shown = json.dumps({"stderr": cut["stderr"]}, ensure_ascii=False)
    told = Masker([SECRET]).text(shown)
    assert told.startswith(f'{{"stderr": "{MASK}')
    assert "cana" not in told


def test_the_core_at_hand_is_known() -> None:
    assert core.VERSION.rsplit(".", 1)[0] in core.KNOWN
    assert callable(core.check_limits())


class Executor:
    """The other end of the socket: says who is to be left out, and keeps what it was asked."""

    def __init__(self, path: Path) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda _question: {"leave_out": {}, "stop": None}
        executor = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                executor.asked.append(json.loads(self.rfile.readline()))
                told = executor.answer(executor.asked[-1])
                if told is not None:
                    self.wfile.write(json.dumps(told).encode() + b"\n")

        self.path = path
        self.server = socketserver.UnixStreamServer(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    executor = Executor(tmp_path / "s")
    yield executor
    executor.server.shutdown()
    executor.server.server_close()


class Run(Controller):
    """ansible-playbook as the service starts it, as far as its limits go."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        super().__init__(folder)
        self.in_place = folder / "in_place"
        (folder / "watch").mkdir()
        (folder / "watch" / "watcher.py").write_text(WATCHER)
        limits = {"exclusion_socket": str(executor.path), "largest_text": 1000, "in_place": str(self.in_place)}
        self.env |= {
            "ANSIBLE_CALLBACK_PLUGINS": f"{ROOT / 'plugins' / 'callback'}:{folder / 'watch'}",
            "CALLBOARD_LIMITS": json.dumps(limits),
            "CALLBOARD_RUN": "x",
        }
        self.list_hosts(a={}, b={}, c={})
        self.configure(snapshot="snap.json", stages=[])

    def list_hosts(self, **hosts: dict[str, Any]) -> None:
        """Let the run's frozen inventory be these."""
        told = {name: host(name, **values) for name, values in hosts.items()}
        (self.folder / "snap.json").write_text(json.dumps(answer(hosts=told)))

    def break_core(self, code: str) -> None:
        """Change Ansible in every Python process that this controller starts."""
        (self.folder / "site").mkdir()
        (self.folder / "site" / "sitecustomize.py").write_text(code)
        self.env["PYTHONPATH"] = str(self.folder / "site")


@pytest.fixture
def run(tmp_path: Path, executor: Executor) -> Run:
    return Run(tmp_path, executor)


def test_it_cuts_what_callbacks_see_and_nothing_else(run: Run) -> None:
    done = run.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    words = len("… [cut, 5000 characters]")
    assert f"seen {1000 + words} {1000 + words}" in done.stdout
    assert run.in_place.exists()


def leave_out(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """An executor that has these left out when they are about to begin, or just got lost."""

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        about = {*question["batch"], *question["unreachable"]}
        return {"leave_out": {name: "it has been silent" for name in names if name in about}, "stop": None}

    return answer


def test_it_asks_before_each_batch_and_leaves_out_who_is_gone(run: Run, executor: Executor) -> None:
    executor.answer = leave_out("b")
    done = run.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [question["batch"] for question in executor.asked] == [["a"], ["b"], ["c"]]
    assert "callboard: b is left out: it has been silent" in done.stdout
    assert "ok: [c]" in done.stdout
    assert "ok: [b]" not in done.stdout


@pytest.mark.parametrize("strategy", ["linear", "free"])
@pytest.mark.parametrize("is_gone", [True, False])
def test_an_unreachable_host_is_no_failure_only_where_it_is_gone(
    run: Run, executor: Executor, strategy: str, is_gone: bool
) -> None:
    run.list_hosts(b={"ansible_host": "127.0.0.1", "ansible_port": 9}, a={"callboard_local": True})

    def answer(question: dict[str, Any]) -> dict[str, Any]:
        left = {"b": "it has been silent"} if is_gone and question["unreachable"] else {}
        return {"leave_out": left, "stop": None}

    executor.answer = answer
    done = run.play(UNREACHABLE.format(strategy=strategy))
    said = done.stdout + done.stderr
    assert done.returncode == (0 if is_gone else 4), said
    assert "second play on a" in said
    assert "on b" not in said
    assert [question["unreachable"] for question in executor.asked if question["unreachable"]] == [["b"]], said


def test_nobody_gets_a_task_once_the_run_must_stop(run: Run, executor: Executor) -> None:
    executor.answer = lambda question: {"leave_out": {}, "stop": "too many" if question["batch"] == ["b"] else None}
    done = run.play(PLAY)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "callboard: the run stops: too many" in done.stdout
    assert "ok: [a]" in done.stdout
    assert "ok: [b]" not in done.stdout


@pytest.mark.parametrize("told", [None, {}, {"leave_out": 7, "stop": None}])
def test_the_run_stops_where_its_executor_does_not_answer(run: Run, executor: Executor, told: Any) -> None:
    executor.answer = lambda _question: told
    done = run.play(PLAY)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "the run stops: its executor does not say who is still there" in done.stdout
    assert "ok:" not in done.stdout


def test_the_run_ends_at_a_question_that_nobody_answers(run: Run) -> None:
    done = run.play("- {hosts: all, gather_facts: false, vars_prompt: [{name: colour}], tasks: [{debug: {msg: hi}}]}")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The playbook asks for colour, which was not answered at the launch" in done.stderr
    assert "ok:" not in done.stdout


BROKEN = {
    "a method is gone": (
        "import ansible.plugins.strategy as s; del s.StrategyBase._process_pending_results",
        "there is no StrategyBase._process_pending_results",
    ),
    "results of another kind": (
        (
            "try:\n"
            "    from ansible._internal._task import UnifiedTaskResult as changed; del changed.unreachable\n"
            "except ImportError:\n"
            "    from ansible.executor.task_result import _BaseTaskResult as changed; del changed.is_unreachable\n"
        ),
        "it keeps the results of tasks in another way",
    ),
    "an attribute is gone": (
        (
            "from ansible.executor.task_queue_manager import TaskQueueManager as changed\n"
            "code = changed.__init__.__code__\n"
            "names = tuple('_lost' if name == '_failed_hosts' else name for name in code.co_names)\n"
            "changed.__init__.__code__ = code.replace(co_names=names)\n"
        ),
        "a TaskQueueManager has no _failed_hosts",
    ),
    "other arguments": (
        "import ansible.utils.display as d; d.Display.do_var_prompt = lambda self, question: None",
        "Display.do_var_prompt takes other arguments",
    ),
    "another property": (
        "import ansible.executor.task_result as t; t.CallbackTaskResult.result = property(lambda self: {})",
        "CallbackTaskResult.result is not kept once it was made",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_run_ends_before_its_first_play_on_a_core_of_another_shape(run: Run, name: str) -> None:
    code, words = BROKEN[name]
    run.break_core(code)
    done = run.play(PLAY)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("[ERROR]: callboard: ")]
    assert "the limits of a run can't be applied: ansible-core 2." in told
    assert words in told
    assert told.endswith("install ansible-core>=2.19,<2.22, or a Callboard that knows it.")
    assert "PLAY [" not in done.stdout
    assert not run.in_place.exists()


def test_a_newer_core_of_the_same_shape_works(run: Run) -> None:
    run.break_core("import ansible.release; ansible.release.__version__ = '2.99.0'")
    done = run.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.in_place.exists()


def test_it_does_nothing_on_a_laptop(run: Run) -> None:
    del run.env["CALLBOARD_LIMITS"]
    done = run.play(PLAY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seen 5000 5000" in done.stdout
