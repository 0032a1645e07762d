"""`install` and `uninstall`: exactly these files, and none besides."""

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import AGENT, Agent

from inventory_service.agent import callboard_agent
from inventory_service.agent.callboard_agent import Installation

HOW = Installation("/usr/bin/python3", "/usr/local/bin/callboard-agent", "/var/lib/callboard-agent", 60, 17)

START = "/usr/bin/python3 -I /usr/local/bin/callboard-agent"
HARDENING = """\
User=root
UMask=0077
Nice=5
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
SERVICE = f"""\
# written by `callboard-agent install`
[Unit]
Description=Callboard heartbeat of this host
Wants=network-online.target
After=network-online.target
ConditionPathExists=/var/lib/callboard-agent/state.json

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -I /usr/local/bin/callboard-agent beat --state-dir /var/lib/callboard-agent
TimeoutStartSec=58
ReadWritePaths=-/var/lib/callboard-agent
{HARDENING}"""
TIMER = """\
# written by `callboard-agent install`
[Unit]
Description=Callboard heartbeat of this host, each 60 s

[Timer]
OnBootSec=5
OnCalendar=*-*-* *:*:17
AccuracySec=1
RandomizedDelaySec=2
Persistent=yes

[Install]
WantedBy=timers.target
"""
GOODBYE = f"""\
# written by `callboard-agent install`
[Unit]
Description=Callboard goodbye when this host powers off
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStop={START} goodbye --on-shutdown --state-dir /var/lib/callboard-agent
TimeoutStopSec=20
ReadWritePaths=-/var/lib/callboard-agent
{HARDENING}
[Install]
WantedBy=multi-user.target
"""
CRON = f"""\
# written by `callboard-agent install`
SHELL=/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
* * * * * root sleep 17; {START} beat --state-dir /var/lib/callboard-agent >/dev/null 2>&1
"""
UNITS = "etc/systemd/system"
PLACE = ("--state-dir", "/var/lib/callboard-agent", "--python", "/usr/bin/python3")


def files(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def schedule(root: Path) -> set[str]:
    return {name for name in files(root) if name.startswith("etc")}


def with_state(root: Path, host: str, interval: int = 60) -> None:
    """An enrolled host's state inside the image, as `enrol` leaves it."""
    folder = root / "var/lib/callboard-agent"
    folder.mkdir(mode=0o700, parents=True)
    state = callboard_agent.State(
        host, "web-1", "shop/production", "cbh_x", interval, 300, "", callboard_agent.Options()
    )
    callboard_agent.Store(str(folder)).save(state)


def host_of_phase(second: int) -> str:
    return next(f"h-{n}" for n in range(9999) if callboard_agent.phase(f"h-{n}", 60) == second)


def test_it_writes_these_units():
    assert callboard_agent.systemd_files(HOW) == {
        "/etc/systemd/system/callboard-agent.service": SERVICE,
        "/etc/systemd/system/callboard-agent.timer": TIMER,
        "/etc/systemd/system/callboard-agent-goodbye.service": GOODBYE,
    }


def test_it_writes_this_cron_entry():
    assert callboard_agent.cron_files(HOW) == {"/etc/cron.d/callboard-agent": CRON}


@pytest.mark.parametrize(
    ("interval", "offset", "expression"),
    [
        (60, 17, "*-*-* *:*:17"),
        (90, 77, "*-*-* *:*:17"),
        (30, 17, "*-*-* *:*:17/30"),
        (25, 17, "*-*-* *:*:17/20"),
        (1, 0, "*-*-* *:*:0/1"),
        (300, 130, "*-*-* *:2/5:10"),
        (3600, 3599, "*-*-* *:59/60:59"),
    ],
)
def test_it_expresses_an_interval_as_a_calendar(interval: int, offset: int, expression: str):
    assert callboard_agent.calendar(interval, offset) == expression


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("interval", "offset", "gap"), [(60, 17, 60), (20, 17, 20), (300, 130, 300), (45, 1, 30)])
def test_systemd_repeats_that_calendar_evenly(interval: int, offset: int, gap: int):
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=3", callboard_agent.calendar(interval, offset)],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "TZ": "UTC", "LC_ALL": "C"},
        check=True,
    )
    times = [line.split()[-2].split(":") for line in done.stdout.splitlines() if line.strip().endswith("UTC")]
    seconds = [int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in times]
    assert len(seconds) == 3
    assert {(b - a) % 86400 for a, b in itertools.pairwise(seconds)} == {gap}


def test_it_installs_systemd_units_below_a_root(agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    with_state(root, host_of_phase(17))
    done = agent.run("install", "--systemd", "--root", str(root), *PLACE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "installed.\n", "")
    assert {name: text for name, text in files(root).items() if name.startswith("etc")} == {
        f"{UNITS}/callboard-agent.service": SERVICE,
        f"{UNITS}/callboard-agent.timer": TIMER,
        f"{UNITS}/callboard-agent-goodbye.service": GOODBYE,
    }
    assert {path.stat().st_mode & 0o777 for path in (root / UNITS).iterdir()} == {0o644}
    again = agent.run("install", "--systemd", "--root", str(root), *PLACE)
    assert again.stdout == "already installed.\n"


def test_it_installs_a_cron_entry_below_a_root(agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    with_state(root, host_of_phase(17))
    done = agent.run("install", "--root", str(root), *PLACE)
    assert done.stdout == "installed.\n"
    assert {name: text for name, text in files(root).items() if name.startswith("etc")} == {
        "etc/cron.d/callboard-agent": CRON
    }


def test_it_takes_systemd_where_it_runs(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    (root / "run/systemd/system").mkdir(parents=True)
    one_agent.run("install", "--root", str(root), *PLACE)
    assert (root / UNITS / "callboard-agent.timer").exists()


def test_it_lets_each_clone_of_an_image_find_its_phase(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    one_agent.run("install", "--systemd", "--root", str(root), *PLACE)
    timer = (root / UNITS / "callboard-agent.timer").read_text()
    assert "OnCalendar=*-*-* *:*:0\nAccuracySec=1\nRandomizedDelaySec=60\nFixedRandomDelay=yes\n" in timer
    one_agent.run("install", "--cron", "--root", str(root), *PLACE)
    line = (root / "etc/cron.d/callboard-agent").read_text().splitlines()[-1]
    command = line.split("root ", 1)[1].replace(r"\%", "%").split(";")[0].replace("sleep", "echo", 1)
    phase = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert 0 <= int(phase) < 60


def test_it_leaves_one_schedule_only(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    one_agent.run("install", "--systemd", "--root", str(root), *PLACE)
    one_agent.run("install", "--cron", "--root", str(root), *PLACE)
    assert schedule(root) == {"etc/cron.d/callboard-agent"}
    one_agent.run("install", "--systemd", "--root", str(root), *PLACE)
    assert len(schedule(root)) == 3
    assert "etc/cron.d/callboard-agent" not in schedule(root)


def test_it_uninstalls_exactly_what_it_installed(agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    (root / "etc/cron.d").mkdir(parents=True)
    (root / "etc/cron.d/other").write_text("theirs\n")
    (root / UNITS).mkdir(parents=True)
    (root / UNITS / "other.service").write_text("theirs\n")
    before = files(root)
    agent.run("install", "--systemd", "--root", str(root), *PLACE)
    done = agent.run("uninstall", "--root", str(root), *PLACE[:2])
    assert done.stdout == "uninstalled.\n"
    assert files(root) == before
    assert agent.run("uninstall", "--root", str(root), *PLACE[:2]).stdout == "nothing was installed.\n"


def test_it_leaves_a_file_of_somebody_else_alone(one_agent: Agent, tmp_path: Path):
    cron = tmp_path / "image/etc/cron.d/callboard-agent"
    cron.parent.mkdir(parents=True)
    cron.write_text("# written by hand\n")
    assert one_agent.run("uninstall", "--root", str(tmp_path / "image")).stdout == "nothing was installed.\n"
    assert cron.read_text() == "# written by hand\n"


@pytest.mark.parametrize(
    "path", ["/var/lib/my agent", "/var/lib/100%", "/var/lib/$HOME", "/var/lib/a;b", "/var/lib/a\nb"]
)
def test_it_rejects_a_path_that_units_would_change(one_agent: Agent, tmp_path: Path, path: str):
    done = one_agent.run("install", "--cron", "--root", str(tmp_path / "image"), "--state-dir", path)
    assert done.returncode == 2
    assert "plain one" in done.stderr
    assert not (tmp_path / "image").exists()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    program = tmp_path / "callboard-agent"
    shutil.copy(AGENT, program)
    one_agent.run("install", "--systemd", "--root", str(root), *PLACE, "--bin-path", str(program))
    units = sorted(str(path) for path in (root / UNITS).iterdir())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "callboard" in line]
    assert (done.returncode, ours) == (0, [])


# --- a user's own crontab ------------------------------------------------------------------------

# Keeps the crontab in a file and speaks as cron's own program does.
CRONTAB = """#!/bin/sh
case "$1" in
  -l) if [ -e "$HOME/crontab" ]; then cat "$HOME/crontab"; else echo "no crontab for $USER" >&2; exit 1; fi;;
  -) cat > "$HOME/crontab"; echo x >> "$HOME/writes";;
esac
"""


@pytest.fixture
def user(one_agent: Agent) -> Agent:
    """A user with a crontab program on the PATH."""
    tools = one_agent.folder / "tools"
    tools.mkdir()
    (tools / "crontab").write_text(CRONTAB)
    (tools / "crontab").chmod(0o755)
    one_agent.env["PATH"] = f"{tools}:{os.environ['PATH']}"
    one_agent.env["USER"] = "somebody"
    return one_agent


def test_it_keeps_a_block_in_the_users_crontab(user: Agent):
    crontab = user.folder / "crontab"
    crontab.write_text("MAILTO=me\n@daily clean up 100\\%")
    program = user.folder / "bin/callboard-agent"
    words = ("install", "--user", "--python", "/usr/bin/python3", "--bin-path", str(program))
    assert user.run(*words).stdout == "installed.\n"
    assert crontab.read_text() == (
        "MAILTO=me\n@daily clean up 100\\%\n"
        "# BEGIN callboard-agent\n"
        f"* * * * * sleep 0; /usr/bin/python3 -I {program} "
        f"beat --state-dir {user.state} >/dev/null 2>&1\n"
        "# END callboard-agent\n"
    )
    assert user.run(*words).stdout == "already installed.\n"
    assert (user.folder / "writes").read_text() == "x\n"


def test_it_moves_only_its_block(user: Agent):
    crontab = user.folder / "crontab"
    crontab.write_text("# BEGIN callboard-agent\nold\n# END callboard-agent\n@daily mine\n")
    user.run("install", "--user", "--bin-path", str(user.folder / "bin/callboard-agent"))
    assert crontab.read_text().startswith("@daily mine\n# BEGIN callboard-agent\n* * * * * sleep")
    assert crontab.read_text().count("BEGIN") == 1


def test_it_starts_a_crontab_where_there_is_none(user: Agent):
    assert user.run("install", "--user", "--bin-path", str(user.folder / "bin/callboard-agent")).returncode == 0
    assert (user.folder / "crontab").read_text().startswith("# BEGIN callboard-agent\n")


def test_it_takes_its_block_out_of_the_users_crontab(user: Agent):
    (user.folder / "crontab").write_text("@daily mine\n")
    user.run("install", "--user", "--bin-path", str(user.folder / "bin/callboard-agent"))
    assert user.run("uninstall", "--user").stdout == "uninstalled.\n"
    assert (user.folder / "crontab").read_text() == "@daily mine\n"
    assert user.run("uninstall", "--user").stdout == "nothing was installed.\n"


def test_it_never_overwrites_a_crontab_that_it_could_not_read(user: Agent):
    (user.folder / "crontab").write_text("@daily mine\n")
    broken = CRONTAB.replace("#!/bin/sh\n", "#!/bin/sh\n[ $1 != -l ] || { echo 'disk error' >&2; exit 1; }\n")
    (user.folder / "tools/crontab").write_text(broken)
    done = user.run("install", "--user", "--bin-path", str(user.folder / "bin/callboard-agent"))
    assert done.returncode == 2
    assert "`crontab -l` failed (disk error)" in done.stderr
    assert (user.folder / "crontab").read_text() == "@daily mine\n"


def test_it_says_what_else_works_without_crontab(one_agent: Agent):
    done = one_agent.run("install", "--user", "--bin-path", str(one_agent.folder / "callboard-agent"), PATH="/nowhere")
    assert done.returncode == 2
    assert "beat --loop" in done.stderr


def test_its_status_is_json_for_an_image(one_agent: Agent, tmp_path: Path):
    with_state(tmp_path, "h-1")
    done = one_agent.run("status", "--json", "--state-dir", str(tmp_path / "var/lib/callboard-agent"))
    assert json.loads(done.stdout)["host"] == "h-1"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for root")
@pytest.mark.parametrize("who", ["file", "folder", "owner"])
def test_root_never_starts_a_file_that_others_can_change(user: Agent, who: str):
    program = user.folder / "bin/callboard-agent"
    program.parent.mkdir(mode=0o755)
    shutil.copy(AGENT, program)
    program.chmod(0o755)
    callboard_agent.check_program(str(program))
    if who == "file":
        program.chmod(0o775)
    if who == "folder":
        program.parent.chmod(0o777)
    if who == "owner":
        os.chown(program, 65534, 65534)
    done = user.run("install", "--user", "--bin-path", str(program))
    assert done.returncode == 2
    assert "can be changed by others than root" in done.stderr
    assert not (user.folder / "crontab").exists()


# --- the agent's own file ------------------------------------------------------------------------


def test_it_puts_itself_where_it_is_started_from(agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    agent.run("install", "--cron", "--root", str(root), *PLACE)
    program = root / "usr/local/bin/callboard-agent"
    assert program.read_bytes() == AGENT.read_bytes()
    assert program.stat().st_mode & 0o777 == 0o755
    assert (root / "var/lib/callboard-agent").stat().st_mode & 0o777 == 0o700
    agent.run("uninstall", "--root", str(root), *PLACE[:2])
    assert files(root) == {}


def test_it_leaves_a_program_alone_that_it_did_not_put_there(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    program = root / "usr/local/bin/callboard-agent"
    program.parent.mkdir(parents=True)
    shutil.copy(AGENT, program)
    one_agent.run("install", "--cron", "--root", str(root), *PLACE)
    one_agent.run("uninstall", "--root", str(root), *PLACE[:2])
    assert program.exists()


def test_it_replaces_an_older_version_of_itself(one_agent: Agent, tmp_path: Path):
    root = tmp_path / "image"
    program = root / "usr/local/bin/callboard-agent"
    program.parent.mkdir(parents=True)
    program.write_text("an older one\n")
    assert one_agent.run("install", "--cron", "--root", str(root), *PLACE).stdout == "installed.\n"
    assert program.read_bytes() == AGENT.read_bytes()
    assert one_agent.run("install", "--cron", "--root", str(root), *PLACE).stdout == "already installed.\n"
