"""Prints what a release layout looks like and what the application answers, as JSON."""

import json
import os
import urllib.request
from pathlib import Path

root = Path(os.environ["ROOT"]).expanduser()
current = root / "current"
seen = {
    "root": str(root),
    "current": str(current.readlink()),
    "releases": sorted(path.name for path in (root / "releases").iterdir()),
    "shared": sorted(path.name for path in (root / "shared").iterdir()),
    "history": (root / "history").read_text().splitlines(),
    "revision": (current / "REVISION").read_text(),
    "log": str((current / "log").readlink()),
    "settings": str((current / "config" / "settings.ini").readlink()),
    "has_stale": (current / "stale").exists(),
}
with urllib.request.urlopen(os.environ["URL"]) as answer:
    seen["answer"] = answer.read().decode()
print(json.dumps(seen))
