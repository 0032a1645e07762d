from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys

import pytest

from inventory_service.adapters.queue import RunQueue
from inventory_service.errors import SettingsError
from inventory_service.settings import Settings

WORKER = """
import os
from inventory_service import settings
from inventory_service.adapters.queue import RunQueue

RunQueue(settings.load()).consume(lambda run_id: os.write(1, b"%d\\n" % run_id), workers=2)
"""


def test_it_carries_run_ids_to_another_process(settings: Settings) -> None:
    queue = RunQueue(settings)
    for run_id in (1, 2, 3):
        queue.send(run_id)
    environment = {**os.environ, "CALLBOARD_DATA_DIR": str(settings.data_dir)}
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    got = sorted(worker.stdout.readline().strip() for _ in range(3))
    worker.terminate()
    assert got == ["1", "2", "3"]
    assert worker.wait(timeout=20) in (0, -15)  # huey installs its handlers after its first tasks may be done


@pytest.mark.parametrize("url", ["memory", "amqp://x", "sqlite:///x", ""])
def test_it_rejects_a_url_that_names_no_queue(settings: Settings, url: str) -> None:
    with pytest.raises(SettingsError, match="CALLBOARD_QUEUE_URL"):
        RunQueue(dataclasses.replace(settings, queue_url=url))


@pytest.mark.skipif(importlib.util.find_spec("redis") is not None, reason="the extra is installed")
def test_it_says_which_extra_redis_needs(settings: Settings) -> None:
    with pytest.raises(SettingsError, match=r"callboard\[redis\]"):
        RunQueue(dataclasses.replace(settings, queue_url="redis://localhost"))
