"""Results that a playbook marked `no_log`. Pure.

Ansible censors the result; yet ansible-core 2.19 prints the failure's own words in front of it, as an [ERROR] with
the task's origin. Those are taken out.
"""

from __future__ import annotations

import re
from typing import Any

_COLOUR = r"(?:\x1b\[[0-9;]*m)*"
_ERROR = re.compile(rf"^{_COLOUR}\[ERROR\]: .*?(?=^{_COLOUR}(?:fatal|failed): \[|\Z)", re.DOTALL | re.MULTILINE)
_INSTEAD = "[ERROR]: Task failed; no_log hides its message.\n"


def printed(event: dict[str, Any]) -> str:
    """The text of one event of ansible-runner, without what no_log should have hidden."""
    text: str = event.get("stdout") or ""
    result = (event.get("event_data") or {}).get("res")
    is_hidden = isinstance(result, dict) and "censored" in result
    return _ERROR.sub(_INSTEAD, text).rstrip("\n") if is_hidden else text
