"""Where the plugin cannot work at all: an old core, a collection that is not found, whatever else goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import PLUGINS, ROOT, Controller, Service

PLAY = "- {hosts: all, gather_facts: false, connection: local, tasks: [{debug: {msg: hi}}]}"
BROKEN = {
    "an old core": ("import ansible.release; ansible.release.__version__ = '2.18.19'", "needs ansible-core 2.19"),
    "a name that is gone": ("import ansible.plugins.inventory as i; del i.Constructable", "can't be loaded: "),
}


def break_core(controller: Controller, code: str) -> None:
    """Change Ansible in every Python process that this controller starts."""
    (controller.folder / "site").mkdir()
    (controller.folder / "site" / "sitecustomize.py").write_text(code)
    controller.env["PYTHONPATH"] = str(controller.folder / "site")


def assert_end(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Exit code 4, one sentence, no host."""
    said = done.stdout + done.stderr
    assert done.returncode == 4, said
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("[ERROR]: ")]
    assert told.startswith("[ERROR]: Callboard's inventory plugin "), told
    assert words in told
    assert "hostvars" not in said, said
    assert "Traceback" not in said, said


@pytest.mark.parametrize("name", BROKEN)
def test_it_ends_the_command_where_it_can_not_be_loaded(controller: Controller, name: str) -> None:
    code, words = BROKEN[name]
    break_core(controller, code)
    assert_end(controller.run("ansible-inventory", "-i", "registry.yml", "--list"), words)
    assert_end(controller.play(PLAY), words)


def test_it_ends_the_command_where_its_collection_is_not_found(controller: Controller) -> None:
    controller.env["ANSIBLE_COLLECTIONS_SCAN_SYS_PATH"] = "false"
    done = controller.run("ansible-inventory", "-i", "registry.yml", "--list")
    assert_end(done, "Ansible has to find all of the collection callboard.callboard: install it, or name the folder")


def test_it_ends_the_command_where_its_own_code_fails(controller: Controller) -> None:
    break_core(controller, "import ansible.plugins.inventory as i; del i.Cacheable.get_cache_key")
    done = controller.run("ansible-inventory", "-i", "registry.yml", "--list")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "hostvars" not in done.stdout
    assert "The inventory plugin failed on ansible-core 2." in done.stderr


@pytest.mark.skipif(
    "CALLBOARD_TEST_OLD_ANSIBLE" not in os.environ, reason="needs the folder of an older Ansible's programs"
)
@pytest.mark.parametrize("name", ["registry", "callboard.callboard.registry"])
def test_a_real_old_core_ends_with_the_sentence(controller: Controller, service: Service, name: str) -> None:
    old = Path(os.environ["CALLBOARD_TEST_OLD_ANSIBLE"])
    controller.configure(plugin=name, url=service.url)
    controller.env |= {"PATH": f"{old}:/usr/bin:/bin", "ANSIBLE_COLLECTIONS_PATH": str(ROOT)}
    assert_end(controller.run(old / "ansible-inventory", "-i", "registry.yml", "--list"), "needs ansible-core 2.19")
    (controller.folder / "x.yml").write_text(PLAY)
    assert_end(controller.run(old / "ansible-playbook", "-i", "registry.yml", "x.yml"), "needs ansible-core 2.19")
    assert service.asked == []


def test_every_python_can_read_the_file_that_says_it() -> None:
    """Grammar of Python 2.7: no annotations, no f-strings, no `raise … from`; what else there is, an old core reads."""
    text = (PLUGINS / "registry.py").read_text()
    code = text[text.index("import re\n") :]
    assert not any(word in code for word in (" -> ", 'f"', " from None", ":=", "nonlocal")), code
    assert "from __future__ import annotations" not in text
    assert sys.version_info >= (3, 11)
