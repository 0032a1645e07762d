from __future__ import annotations

import pytest

from inventory_service.deployments.executor import no_log

ERROR = "\x1b[0;31m[ERROR]: Task failed: the password is hunter2\x1b[0m\n\x1b[0;31mOrigin: a.yml:3:7\x1b[0m\n"
FATAL = '\x1b[0;31mfatal: [web-1]: FAILED! => {"censored": "hidden"}\x1b[0m'


@pytest.mark.parametrize("fatal", [FATAL, FATAL.replace("fatal", "failed"), ""])
def test_it_takes_out_the_words_of_a_censored_failure(fatal: str) -> None:
    event = {"stdout": ERROR + fatal, "event_data": {"res": {"censored": "hidden"}}}
    assert no_log.printed(event) == f"[ERROR]: Task failed; no_log hides its message.\n{fatal}".strip("\n")


@pytest.mark.parametrize("data", [None, {}, {"res": None}, {"res": {"msg": "hidden"}}])
def test_it_leaves_every_other_event_alone(data: object) -> None:
    assert no_log.printed({"stdout": ERROR + FATAL, "event_data": data}) == ERROR + FATAL
    assert no_log.printed({"event_data": data}) == ""
