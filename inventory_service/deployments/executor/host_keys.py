"""A machine that answers with another SSH host key than the one on record: recognised, and said by name."""

from __future__ import annotations

from typing import Any

_SIGN = "Host key verification failed"  # the last thing that ssh says, whether the key is another one or unknown
_ADVICE = (
    "If the machine was reinstalled, let it enrol again or vouch for its keys (callboard host keys ID FILE…); "
    "if not, another machine answers at its address: do not connect."
)


def is_mismatch(event: dict[str, Any]) -> bool:
    """Whether ssh refused the connection because of the host's key.

    Only of ansible-runner's `runner_on_unreachable`, whose message is ssh's own: the words in a task's result are a
    host's. (A host that puts them into its banner accuses nobody but itself.)
    """
    result = (event.get("event_data") or {}).get("res")
    if event.get("event") != "runner_on_unreachable" or not isinstance(result, dict):
        return False
    return _SIGN in str(result.get("msg", ""))


def words(names: str) -> str:
    """What a run says of a host, or of several in one text such as `web-1, web-2`, and what to do."""
    return f"Host key mismatch: {names} did not show an SSH host key that is on record. {_ADVICE}"
