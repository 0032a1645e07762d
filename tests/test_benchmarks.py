"""The benchmarks still run: each in a tiny size, with its real servers and commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
# A benchmark that `make bench` runs has its tiny size here.
TINY = {
    "heartbeats.py": "--hosts 20 --rounds 1 --seconds 0.2 --storm 20",
    "fleet.py": "--small 20 --large 60 --seconds 1 --minutes 2",
    "inventory.py": "--largest 20 --rounds 1",
    "runs.py": "--hosts 2 --tasks 1 --rounds 1",
    "reach.py": "--hosts 1 --tasks 1 --rounds 1",
    "launch.py": "--rounds 1",
    "live_log.py": "--hosts 2 --lines 1",
}


def test_it_knows_a_tiny_size_of_each_benchmark() -> None:
    code = "import run; print('\\n'.join(run.SCRIPTS))"
    told = subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == set(TINY)
    assert {path.name for path in FOLDER.glob("*.py")} == {*TINY, "run.py", "support.py"}


@pytest.mark.e2e
@pytest.mark.parametrize("script", TINY)
def test_it_measures_and_hands_over_rows(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / script), "--quick", "--json", str(tmp_path / "rows"), *TINY[script].split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows").read_text())
    assert rows
    assert all(row["work"] and row["ours"] for row in rows)


def test_it_writes_the_table_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- written by make bench: begin -->\nold\n<!-- written by make bench: end -->\nafter\n")
    row = {"work": "a|b", "ours": "2/s", "peer": "it: 1/s", "ratio": "2.00x", "target": "≥ 3x", "is_met": False}
    code = f"import run, pathlib; run.PAGE = pathlib.Path({str(page)!r}); run.write([{row!r}])"
    subprocess.run([sys.executable, "-c", code], cwd=FOLDER, capture_output=True, text=True, check=True)
    written = page.read_text()
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "| a/b | 2/s | it: 1/s | 2.00x | ≥ 3x | **no** |" in written
    assert "old" not in written
