"""Nothing that is stored or sent is unpickled: a pickle runs code in whoever reads it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import inventory_service

ROOT = Path(inventory_service.__file__).parents[1]
PICKLING = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "multiprocessing", "joblib"}


def imports(file: Path) -> Iterator[str]:
    """The top names of all that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def test_nothing_of_ours_pickles() -> None:
    files = [file for folder in ("inventory_service", "plugins") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    found = {str(file.relative_to(ROOT)): names for file in files if (names := PICKLING & set(imports(file)))}
    assert not found
