"""Fails where a line is longer than 120 characters.

Rows of Markdown tables and addresses can't be broken, and what others wrote is left as it is.
"""

import re
import subprocess
import sys
from pathlib import Path

LONGEST = 120
OTHERS = re.compile(r"(^|/)vendor/|\.(lock|png|pem|csv|gz)$|^LICENSE$")
UNBREAKABLE = re.compile(r"^\s*\|.*\|\s*$|^\S*\s*<?https?://\S+$")


def too_long(path: Path) -> list[int]:
    """The numbers of the lines that are too long, from 1."""
    lines = path.read_text("utf-8").splitlines()
    may_have_rows = path.suffix == ".md"
    return [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > LONGEST and not (may_have_rows and UNBREAKABLE.match(line))
    ]


def main() -> int:
    listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [Path(name) for name in listed if not OTHERS.search(name)]  # the link to the root is none of them
    found = [f"{path}:{number}" for path in paths if path.is_file() for number in too_long(path)]
    print("\n".join(f"{place}: longer than {LONGEST} characters" for place in found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
