"""Runs the benchmarks one after the other and writes their table into docs/performance.md.

`python benchmarks/run.py [--quick] [SCRIPT…]`; `--quick` runs each in a small size and leaves the page alone.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench: begin -->", "<!-- written by make bench: end -->"

# Each takes --quick and --json FILE (support.arguments) and hands over rows (support.finish). Add yours here.
SCRIPTS = ("heartbeats.py", "fleet.py", "inventory.py", "runs.py", "reach.py", "launch.py", "live_log.py")
PACKAGES = ("flask", "granian", "peewee", "ansible-core")


def run(script: str, *, is_quick: bool) -> list[dict[str, Any]]:
    """The rows of one script, none when it failed; its own words go to the terminal."""
    print(f"\n== {script}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / script), "--json", str(file), *(["--quick"] if is_quick else [])]
        if subprocess.run(command, check=False).returncode:
            print(f"{script} failed; its rows are missing", flush=True)
            return []
        return json.loads(file.read_text())


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| work | Callboard | against | ratio | target | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row["is_met"]]
        cells = (row["work"], row["ours"], row["peer"], row["ratio"], row["target"], met)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def machine() -> str:
    """What it ran on, in one sentence."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    versions = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    if shutil.which("etcd"):
        told = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
        versions.append(f"etcd {told.split()[2]}")
    load = os.getloadavg()[0]
    return (
        f"Measured on {dt.datetime.now(dt.UTC):%Y-%m-%d} on {os.cpu_count()} cores "
        f"of {model[1] if model else 'a processor'}, "
        f"Linux {platform.release()}, Python {platform.python_version()}, {', '.join(versions)}. "
        f"One-minute load of the machine at the end: {load:.1f}."
    )


def write(rows: list[dict[str, Any]]) -> None:
    """Put machine and table between the marks of the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{machine()}\n\n{table(rows)}\n{END}{after}")
    print(f"\nwritten to {PAGE}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("scripts", nargs="*", default=SCRIPTS)
    options = parser.parse_args()
    found = {script: run(script, is_quick=options.quick) for script in options.scripts}
    rows = [row for some in found.values() for row in some]
    if not options.quick:
        write(rows)
    missed = [row["work"] for row in rows if row["is_met"] is False]
    if missed:
        print("\nnot met: " + "; ".join(missed))
    if failed := [script for script, some in found.items() if not some]:
        sys.exit(f"failed: {', '.join(failed)}; what they said is above")


if __name__ == "__main__":
    main()
