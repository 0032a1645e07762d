"""What arrives in Ansible when all is well."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from .conftest import BIN, KEY, ROOT, TOKEN, Answer, answer, host

if TYPE_CHECKING:
    from .conftest import Controller, Service

VERSION = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
BUILT = f"callboard-callboard-{VERSION}.tar.gz"
KNOWN_HOSTS = f"10.0.0.1 ssh-ed25519 {KEY}\n[127.0.8.11]:2222 ssh-ed25519 {KEY}\n"


def test_it_lists_hosts_groups_and_variables(controller: Controller, service: Service) -> None:
    service.stage(answer(groups={"out_of_date": {"hosts": ["web-1"]}, "draining": {"hosts": []}}))
    listed = controller.list()
    variables = listed["_meta"]["hostvars"]["web-1"]
    assert {key: variables[key] for key in host()} == host()
    assert variables["callboard_project"] == "shop"
    assert set(listed["all"]["children"]) >= {"stage_shop_production", "web", "release_12", "out_of_date"}
    assert service.asked[0] == ("/api/v1/stages/shop/production/inventory", f"Bearer {TOKEN}")
    assert service.headers[0]["Accept-Encoding"] == "identity"


def test_it_draws_a_graph(controller: Controller, service: Service) -> None:
    service.stage(answer(hosts={"2001:db8::1": host(ansible_host="2001:db8::1"), "a.example": host()}))
    done = controller.run("ansible-inventory", "-i", "registry.yml", "--graph")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "@stage_shop_production:\n  |  |--2001:db8::1\n  |  |--a.example\n  |--@" in done.stdout
    assert done.stderr == ""


def test_it_asks_for_states_and_a_time(controller: Controller, service: Service) -> None:
    (controller.folder / "registry.yml").write_text(
        f"plugin: registry\nurl: {service.url}/\nstages: [shop/production]\n"
        "states: [live, stale]\nat: 2026-11-23T15:03:00+01:00\nknown_hosts: false\n"
    )
    controller.list()
    expected = "/api/v1/stages/shop/production/inventory?state=live%2Cstale&at=2026-11-23T14%3A03%3A00Z"
    assert [path for path, _ in service.asked] == [expected]


def test_it_lets_the_service_choose_hosts_by_group(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url, only_groups=["web", "db"])
    controller.list()
    stage = "/api/v1/stages/shop/production"
    expected = [f"{stage}/inventory?group=web%2Cdb", f"{stage}/known_hosts?group=web%2Cdb"]
    assert [path for path, _ in service.asked] == expected


def test_it_rejects_a_group_that_is_no_name(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url, only_groups=["web,{{ x }}"])
    assert "is not a group; write groups like 'only_groups: [web, db]'" in controller.fail()


def test_it_tells_where_a_host_came_from(controller: Controller, service: Service) -> None:
    told = (
        "- hosts: web-1\n  gather_facts: false\n  tasks:\n    - debug: msg='{{ inventory_dir }} {{ inventory_file }}'\n"
    )
    assert f"{controller.folder} {controller.folder}/registry.yml" in controller.play(told).stdout


def test_it_takes_url_and_token_from_the_environment_or_a_file(controller: Controller, service: Service) -> None:
    (controller.folder / "secret").write_text("cbu_from-the-file\n")
    (controller.folder / "registry.yml").write_text("plugin: registry\nstages: [shop/production]\ntoken_file: secret")
    controller.list(CALLBOARD_URL=service.url, CALLBOARD_TOKEN="")
    assert service.asked[0][1] == "Bearer cbu_from-the-file"


@pytest.mark.parametrize("name", ["expiry_paused", "frozen"])
def test_it_warns_of_paused_expiry_and_of_no_hosts(controller: Controller, service: Service, name: str) -> None:
    told = answer(hosts={}, **{name: True})
    if name == "frozen":  # as services before 0.2 say it
        del told["_meta"]["callboard"]["expiry_paused"]
    service.stage(told)
    warnings = controller.list()["warnings"]
    assert "Expiry is paused in shop/production" in warnings
    assert "Stage shop/production has no live hosts." in warnings


def test_it_merges_stages_that_share_groups_and_hosts(controller: Controller, service: Service) -> None:
    service.stage(answer(hosts={"web-1": host(), "both": host("both")}))
    service.stage(answer("shop/staging", hosts={"web-2": host("web-2"), "both": host("both")}), name="shop/staging")
    controller.configure(url=service.url, stages=["shop/production", "shop/staging"])
    listed = controller.list()
    assert sorted(listed["web"]["hosts"]) == ["both", "web-1", "web-2"]
    assert sorted(listed["stage_shop_staging"]["hosts"]) == ["both", "web-2"]
    assert len(service.asked) == 4


def test_it_rejects_one_name_for_two_hosts_of_two_stages(controller: Controller, service: Service) -> None:
    service.stage(answer("shop/staging", hosts={"web-1": host("other")}), name="shop/staging")
    controller.configure(url=service.url, stages=["shop/production", "shop/staging"])
    message = controller.fail()
    assert "web-1 means one host in shop/production and another in shop/staging" in message


def test_it_rejects_a_host_that_takes_the_place_of_another_source(controller: Controller) -> None:
    (controller.folder / "a.ini").write_text("web-1 ansible_host=192.0.2.1\n")
    done = controller.run("ansible-inventory", "-i", "a.ini", "-i", "registry.yml", "--list")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "host web-1 is another host in another inventory source" in done.stderr


def test_it_reads_a_snapshot_without_network(controller: Controller, service: Service) -> None:
    (controller.folder / "snap.json").write_text(json.dumps(answer(variables={"path": "/srv/{{ callboard_project }}"})))
    (controller.folder / "registry.yml").write_text("plugin: registry\nsnapshot: snap.json\n")
    variables = controller.list()["_meta"]["hostvars"]["web-1"]
    assert variables["path"] == "/srv/{{ callboard_project }}"
    assert "ansible_ssh_common_args" not in variables
    assert service.asked == []


def test_it_rejects_a_snapshot_of_another_stage(controller: Controller) -> None:
    (controller.folder / "snap.json").write_text(json.dumps(answer()))
    controller.configure(snapshot="snap.json", stages=["shop/staging"])
    message = controller.fail()
    assert f"stage shop/staging from the snapshot {controller.folder}/snap.json: the answer is about" in message


def test_it_rejects_a_missing_snapshot(controller: Controller) -> None:
    controller.configure(snapshot="snap.json")
    assert "cannot be read (No such file or directory); correct 'snapshot'." in controller.fail()


def test_it_binds_ssh_to_the_known_hosts_of_the_stage(controller: Controller, service: Service) -> None:
    service.stage(answer(variables={"ansible_ssh_common_args": "-o ProxyJump=gate"}), KNOWN_HOSTS)
    args = controller.list()["_meta"]["hostvars"]["web-1"]["ansible_ssh_common_args"]
    (path,) = (controller.home / ".cache/callboard/known_hosts").iterdir()
    assert args == (
        f"-o ProxyJump=gate -o UserKnownHostsFile={path} -o GlobalKnownHostsFile=/dev/null "
        "-o StrictHostKeyChecking=yes -o UpdateHostKeys=no"
    )
    assert path.read_text() == KNOWN_HOSTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_keeps_ssh_arguments_from_the_configuration_and_odd_paths(controller: Controller, service: Service) -> None:
    cache = controller.folder / "odd 100% folder"
    service.stage(known_hosts=KNOWN_HOSTS)
    listed = controller.list(
        XDG_CACHE_HOME=str(cache),
        ANSIBLE_SSH_COMMON_ARGS="-o ConnectTimeout=7",
        ANSIBLE_HOST_KEY_CHECKING="false",
    )
    assert "host_key_checking is off" in listed["warnings"]
    args = listed["_meta"]["hostvars"]["web-1"]["ansible_ssh_common_args"]
    (path,) = (cache / "callboard/known_hosts").iterdir()
    heard = subprocess.run(
        ["/bin/sh", "-c", f"ssh {args} -F none -G x"], capture_output=True, text=True, check=True
    ).stdout
    assert "connecttimeout 7\n" in heard
    assert "stricthostkeychecking true\n" in heard
    assert "globalknownhostsfile /dev/null\n" in heard
    assert f"userknownhostsfile {path}\n" in heard


def test_it_leaves_ssh_alone_when_told_so(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url, known_hosts=False)
    assert "ansible_ssh_common_args" not in controller.list()["_meta"]["hostvars"]["web-1"]
    assert len(service.asked) == 1
    assert not (controller.home / ".cache").exists()


def test_it_rejects_known_hosts_that_vouch_for_any_host(controller: Controller, service: Service) -> None:
    service.stage(known_hosts=KNOWN_HOSTS + f"* ssh-ed25519 {KEY}\n")
    assert "line 3 of its known hosts is not acceptable" in controller.fail()


def test_known_hosts_that_cannot_be_had_end_the_command(controller: Controller, service: Service) -> None:
    service.answers["/api/v1/stages/shop/production/known_hosts"] = Answer(status=403)
    said = controller.fail()
    assert "Cannot get the inventory of stage shop/production" in said
    assert "web-1" not in said
    asked = [path for path, _ in service.asked]
    assert asked.index("/api/v1/stages/shop/production/inventory") == 0


def test_it_rejects_a_cache_folder_that_others_may_write(controller: Controller) -> None:
    folder = controller.home / ".cache/callboard/known_hosts"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert f"the folder {folder} is not private" in controller.fail()


def test_it_constructs_only_what_is_asked_for(controller: Controller, service: Service) -> None:
    service.stage(answer(variables={"tier": "gold"}))
    controller.configure(
        url=service.url,
        compose={"is_small": "callboard_reported.memory_mb < 1024", "grade": "tier | upper", "x": "oops + 1"},
        groups={"canary": "inventory_hostname.endswith('-1')"},
        keyed_groups=[{"key": "callboard_reported.zone", "prefix": "zone"}],
    )
    listed = controller.list()
    assert listed["_meta"]["hostvars"]["web-1"]["is_small"] is True
    assert listed["_meta"]["hostvars"]["web-1"]["grade"] == "GOLD"
    assert "x" not in listed["_meta"]["hostvars"]["web-1"]
    assert listed["canary"]["hosts"] == listed["zone_a"]["hosts"] == ["web-1"]


def test_it_ends_at_a_bad_expression_when_strict(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url, compose={"x": "no_such_variable + 1"}, strict=True)
    assert "Could not set x for host web-1" in controller.fail()


def test_it_uses_a_young_cached_answer_and_flushes_it(controller: Controller, service: Service) -> None:
    controller.configure(
        url=service.url, cache=True, cache_plugin="ansible.builtin.jsonfile", cache_connection="cached"
    )
    first = controller.list()
    service.stage(answer(hosts={"web-9": host()}))
    assert controller.list() == first
    assert len(service.asked) == 2
    assert "web-9" in controller.list("--flush-cache")["_meta"]["hostvars"]
    (path,) = (controller.folder / "cached").iterdir()
    assert TOKEN not in path.read_text()


def test_it_fails_on_an_old_cached_answer_unless_a_stale_one_will_do(controller: Controller, service: Service) -> None:
    options = {
        "url": service.url,
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": "c",
    }
    service.stage(known_hosts=KNOWN_HOSTS)
    controller.configure(**options, cache_timeout=1, stale_cache=True)
    fresh = controller.list()
    (copy,) = (controller.home / ".cache/callboard/copies").iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    service.stop()
    stale = controller.list("--flush-cache")
    assert stale["_meta"] == fresh["_meta"]
    assert "the connection was refused; using the copy of 20" in stale["warnings"]
    controller.configure(**options)
    assert "the connection was refused" in controller.fail("--flush-cache")


def test_it_uses_no_stale_copy_when_the_service_says_no(controller: Controller, service: Service) -> None:
    controller.configure(url=service.url, stale_cache=True)
    controller.list()
    service.answers.clear()
    assert "there is no such stage (404)" in controller.fail()


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the collection as `ansible-galaxy collection install` puts it there, from a build of this tree."""
    folder = tmp_path_factory.mktemp("collections")
    tree = folder / "tree"
    for name in ("plugins", "meta", "roles", "playbooks"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("galaxy.yml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    env = {"HOME": str(folder), "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    for words in (
        ["build", tree, "--output-path", folder],
        ["install", folder / BUILT, "-p", folder, "--offline", "--force"],
    ):
        subprocess.run([BIN / "ansible-galaxy", "collection", *words], env=env, check=True, capture_output=True)
    return folder


def test_it_works_from_an_installed_collection(controller: Controller, service: Service, collections: Path) -> None:
    controller.configure("callboard.yaml", plugin="callboard.callboard.registry", url=service.url)
    env = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    env["ANSIBLE_INVENTORY_PLUGINS"] = ""
    done = controller.run("ansible-inventory", "-i", "callboard.yaml", "--graph", **env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "@stage_shop_production" in done.stdout
    done = controller.run("ansible-doc", "-t", "inventory", "callboard.callboard.registry", **env)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["registry", "callboard.callboard.registry"])
def test_a_checkout_knows_the_plugin_by_both_names(controller: Controller, service: Service, name: str) -> None:
    """With nothing but the checkout's own ansible.cfg: no collection is found by way of Python's own path."""
    controller.configure(plugin=name, url=service.url)
    env = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false"}
    del controller.env["ANSIBLE_INVENTORY_PLUGINS"]
    done = controller.run("ansible-inventory", "-i", "registry.yml", "--graph", **env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "@stage_shop_production" in done.stdout


def test_an_ansible_of_the_same_python_finds_the_collection_without_being_told(
    controller: Controller, service: Service
) -> None:
    controller.configure(plugin="callboard.callboard.registry", url=service.url)
    del controller.env["ANSIBLE_INVENTORY_PLUGINS"]
    assert "web-1" in controller.list()["_meta"]["hostvars"]


def test_it_documents_every_option_with_valid_examples(controller: Controller) -> None:
    done = controller.run("ansible-doc", "-t", "inventory", "-j", "registry")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)["registry"]
    own = {"plugin", "url", "token", "token_file", "stages", "states", "at", "timeout", "ca_path", "snapshot"}
    own |= {
        "trusted_stage_variables",
        "stale_cache",
        "cache",
        "cache_plugin",
        "compose",
        "keyed_groups",
        "strict",
    }
    assert own <= set(told["doc"]["options"])
    for example in yaml.safe_load_all(told["examples"]):
        assert set(example) <= set(told["doc"]["options"])
    assert all(option["description"] for option in told["doc"]["options"].values())


def test_the_inventory_file_of_the_repository_leaves_the_url_to_the_environment() -> None:
    options = yaml.safe_load((ROOT / "registry.yml").read_text())
    assert options == {"plugin": "registry", "stages": ["shop/production"], "trusted_stage_variables": True}


COLLECTION = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "playbooks/deploy.yml",
    "plugins/inventory/registry.py",
    "plugins/plugin_utils/service.py",
    "roles/heartbeat/tasks/main.yml",
}
OTHER_FILES = {
    ".ansible/x",
    ".git/config",
    ".gitignore",
    ".venv/bin/python",
    "Makefile",
    "ansible.cfg",
    "ansible_collections/callboard/callboard/x",
    "benchmarks/b.py",
    "callboard-data/callboard.db",
    "callboard.egg-info/PKG-INFO",
    "deploy.yml",
    "dist/a.whl",
    "docs/a.md",
    "inventory_service/models.py",
    "molecule/default/molecule.yml",
    "plugins/inventory/__pycache__/registry.pyc",
    "pyproject.toml",
    "registry.yml",
    "tests/plugins/conftest.py",
}


def test_the_collection_holds_no_file_of_the_python_project(tmp_path: Path) -> None:
    """Only names count here: a tree like the repository's, with one file in each place."""
    tree = tmp_path / "tree"
    for name in COLLECTION | OTHER_FILES:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    shutil.copytree(ROOT / "meta", tree / "meta")
    shutil.copy(ROOT / "galaxy.yml", tree)
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "build", tree, "--output-path", tmp_path],
        env={"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        check=True,
        capture_output=True,
    )
    shutil.unpack_archive(tmp_path / BUILT, tmp_path / "out")
    packed = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert packed == COLLECTION | {"FILES.json", "MANIFEST.json", "meta/runtime.yml"}
