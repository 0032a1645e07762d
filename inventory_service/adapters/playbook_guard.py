"""Runs a program so that it ends when its parent does: `python -I playbook_guard.py PARENT PROGRAM ARGUMENT…`.

A SIGKILL of the executor would otherwise leave ansible-playbook working on hosts while its stage looks free.
Stands alone: it imports nothing of the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the executor died before the playbook began")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - that is its purpose
