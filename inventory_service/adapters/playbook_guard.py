"""Runs a program so that it ends when its parent does:
`python -I playbook_guard.py [--no-new-privileges] PARENT PROGRAM ARGUMENT…`.

A SIGKILL of the executor would otherwise leave ansible-playbook working on hosts while its stage looks free.
The kernel forgets that when a set-group-ID program such as ssh-agent is executed; without new privileges it isn't.
Stands alone: it imports nothing of the package.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

if __name__ == "__main__":
    arguments = sys.argv[1:]
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if arguments[0] == "--no-new-privileges":
        arguments = arguments[1:]
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != int(arguments[0]):
        sys.exit("the parent died before the program began")
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - that is its purpose
