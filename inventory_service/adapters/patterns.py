"""Regular expressions that others wrote, matched in a process of their own.

One that backtracks for hours holds Python's lock all the while: no thread of this process would go on, heartbeats would
not be heard, and nothing could stop it.
"""

from __future__ import annotations

import json
import subprocess
import sys

_CPU_SECONDS = 1
_PATIENCE_SECONDS = 60.0  # of the wall clock: a busy machine is no reason to refuse
_FITS, _DOES_NOT = 0, 3
_PROGRAM = f"""
import json, re, resource, sys
pattern, text = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, ({_CPU_SECONDS}, {_CPU_SECONDS}))
sys.exit({_FITS} if re.fullmatch(pattern, text) else {_DOES_NOT})
"""


def fits(pattern: str, text: str) -> bool:
    """Whether the pattern, which has to be one, fits the whole text.

    Raises TimeoutError when that can't be told within a second of the processor's time.
    """
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM]
    asked = json.dumps([pattern, text]).encode()
    try:
        done = subprocess.run(command, input=asked, env={}, capture_output=True, timeout=_PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(pattern) from error
    if done.returncode not in (_FITS, _DOES_NOT):
        raise TimeoutError(pattern)
    return done.returncode == _FITS
