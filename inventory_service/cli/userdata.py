"""`callboard userdata STAGE`: what a new machine is told at its first boot."""

from __future__ import annotations

import datetime as dt
import shlex
from typing import Any

import click
import yaml

from inventory_service.cli.arguments import given, stage_path
from inventory_service.client import Client
from inventory_service.clock import SystemClock, iso

_YEAR = dt.timedelta(days=365)
_FOLDER = "/var/lib/callboard-first-boot"
_SCRIPT = """\
#!/bin/sh
# Puts this machine on the list of {stage} and keeps it there. It may run twice. Python 3.8 or newer is all it needs.
# CALLBOARD_ROOT, for images and tests: files go below that folder, and nothing is switched on.
set -eu
umask 077
root=${{CALLBOARD_ROOT:-}}
folder=${{CALLBOARD_FIRST_BOOT:-{folder}}}
url={url}
python=$(command -v python3) || {{ echo "callboard: python3 is missing; install it in the image." >&2; exit 1; }}

fetch() {{
    "$python" - "$1" "$2" <<'END'
import shutil, sys, urllib.request
with urllib.request.urlopen(sys.argv[1], timeout=20) as answer, open(sys.argv[2], "wb") as file:
    shutil.copyfileobj(answer, file)
END
}}

tries=0
until fetch "$url/agent" "$folder/callboard-agent"; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || {{ echo "callboard: $url did not answer for ten minutes." >&2; exit 1; }}
    sleep 10
done
{check}export CALLBOARD_AGENT_DIR="$root/var/lib/callboard-agent"
"$python" "$folder/callboard-agent" enrol --url "$url" --token-file "$folder/join-token" --give-up-seconds 600{options}
"$python" "$folder/callboard-agent" install ${{root:+--root "$root"}}
rm -f "$folder/join-token"
"""
_CHECK = """\
echo "{checksum}  $folder/callboard-agent" | sha256sum --check --status ||
    {{ echo "callboard: the agent at $url is not the one that was pinned." >&2; exit 1; }}
"""


@click.command()
@click.argument("stage")
@click.option("--join-token", help="Use this one; made anew when left out, and then it is good for a year.")
@click.option("--group", "groups", multiple=True, help="Group of the machines that use it; repeatable.")
@click.option("--network", "networks", multiple=True, help="Network that they come from, as CIDR; repeatable.")
@click.option("--expires-at", help="When the new join token ends, ISO 8601 with zone.")
@click.option("--release-path", help="Folder of the release layout on the machine (/srv/app).")
@click.option("--health-url", help="Healthy is what makes it answer 2xx.")
@click.option("--pin-agent", is_flag=True, help="Accept only the agent that the service has now.")
@click.option("--script", is_flag=True, help="The bare shell script without a token, instead of cloud-init's YAML.")
def userdata(stage: str, pin_agent: bool, script: bool, join_token: str | None, **options: Any) -> None:
    """Print cloud-init user data: a new machine installs the agent and enrols by itself.

    It holds a join token: whoever may read a machine's user data can bring machines into the stage.
    """
    client = Client()
    checksum = client.text("/agent.sha256").split()[0] if pin_agent else None
    text = first_boot(stage, client.url, checksum=checksum, options=options)
    if script:
        click.echo(text, nl=False)
        return
    token = join_token or _make_token(client, stage, options)
    click.echo(cloud_config(stage, text, token), nl=False)


def _make_token(client: Client, stage: str, options: dict[str, Any]) -> str:
    body = given(description="user data", groups=options["groups"], networks=options["networks"])
    body["expires_at"] = options["expires_at"] or iso(SystemClock().now() + _YEAR)
    made = client.send("POST", f"{stage_path(stage)}/join-tokens", body)
    click.echo(f"Its join token {made['id']} is good until {made['expires_at']}.", err=True)
    return str(made["token"])


def first_boot(stage: str, url: str, *, checksum: str | None, options: dict[str, Any]) -> str:
    """The script that a machine runs at its first boot, in a folder that holds `join-token`."""
    given = {"--release-path": options.get("release_path"), "--health-url": options.get("health_url")}
    extra = "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)
    return _SCRIPT.format(
        stage=stage,
        folder=_FOLDER,
        url=shlex.quote(url),
        check=_CHECK.format(checksum=checksum) if checksum else "",
        options=extra,
    )


def cloud_config(stage: str, script: str, token: str) -> str:
    """cloud-init's YAML: two files, and one command that runs once for each instance."""
    files = [
        {"path": f"{_FOLDER}/join-token", "permissions": "0600", "content": f"{token}\n"},
        {"path": f"{_FOLDER}/first-boot.sh", "permissions": "0700", "content": script},
    ]
    content = {"write_files": files, "runcmd": [[f"{_FOLDER}/first-boot.sh"]]}
    text: str = yaml.dump(content, sort_keys=False, Dumper=_Dumper)
    return f"#cloud-config\n# A machine of {stage}.\n{text}"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes texts of several lines as a person would."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
