"""A machine that answers with another SSH host key than the one on record: recognised."""

from __future__ import annotations

from typing import Any

_SIGN = "Host key verification failed"  # the last thing that ssh says, whether the key is another one or unknown


def is_mismatch(event: dict[str, Any]) -> bool:
    """Whether ssh refused the connection because of the host's key.

    Only of ansible-runner's `runner_on_unreachable`, whose message is ssh's own: the words in a task's result are a
    host's. (A host that puts them into its banner accuses nobody but itself.)
    """
    result = (event.get("event_data") or {}).get("res")
    if event.get("event") != "runner_on_unreachable" or not isinstance(result, dict):
        return False
    return _SIGN in str(result.get("msg", ""))
