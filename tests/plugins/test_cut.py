"""What Ansible's side cuts of a huge result, and that a secret at the cut does not come out of the service."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from inventory_service.vault.masking import MASK, Masker

PLUGIN = Path(__file__).parents[2] / "plugins" / "callback" / "callboard_cut.py"
SECRET = "canary-4711-of-the-till"
LARGEST = 2**20


@pytest.fixture(scope="module")
def plugin() -> Any:
    spec = importlib.util.spec_from_file_location("callboard_cut", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("left", [*range(1, len(SECRET)), len(SECRET), 40])
def test_a_secret_at_the_cut_is_masked_like_every_other(plugin: Any, left: int) -> None:
    result = {"stdout": "x" * (LARGEST - left), "stderr": SECRET + "y" * 100}
    cut = plugin.Cutter(LARGEST).cut(result)
    assert cut["stderr"].startswith(f"{SECRET[:left]}")
    shown = json.dumps({"stderr": cut["stderr"]}, ensure_ascii=False)
    told = Masker([SECRET]).text(shown)
    assert told.startswith(f'{{"stderr": "{MASK}')
    assert "cana" not in told
