"""What `callboard demo` says before it plays anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path


def test_it_names_another_port_where_its_own_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "inventory_service.cli", "demo", "--port", port, "--folder", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert f"Port {port} is taken." in done.stderr
    assert 'make demo DEMO="--port ' in done.stderr
