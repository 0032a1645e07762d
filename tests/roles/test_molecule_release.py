"""The release role on a real SSH server: molecule/release deploys, fails, restores and rolls back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.molecule
def test_it_passes_the_release_scenario():
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}", "NO_COLOR": "1"}
    command = [scripts / "molecule", "test", "--scenario-name", "release", "--destroy", "always"]
    result = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-3000:]
