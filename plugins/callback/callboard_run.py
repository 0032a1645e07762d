# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402 - Ansible wants the documentation in front
"""Puts the limits of a run of Callboard's service into ansible-playbook, or ends it."""

from __future__ import annotations

DOCUMENTATION = """
name: callboard_run
type: aggregate
short_description: applies the limits of a run of Callboard's service
version_added: 0.1.0
author:
  - The Callboard authors
description:
  - Belongs to the runs of Callboard's service and does nothing anywhere else. E(CALLBOARD_LIMITS) tells it what to do.
  - Before each batch of each play (every C(serial) batch, whatever the strategy) it tells the run's executor which
    hosts are to come, and leaves out those that the executor names; after a host became unreachable it asks again.
  - A host that is left out counts neither as failed nor as unreachable, neither for the exit code nor for
    C(max_fail_percentage) nor for the rule that a batch which failed as a whole ends the play.
  - It asks over a Unix socket in the run's private folder, and has no credential. Without an answer the run stops.
  - Texts of a huge result are cut for callbacks, and say so; variables that a task registers keep all of it.
  - A run that asks for a variable which was not given at its launch ends.
  - On an ansible-core that it does not know, the run ends before the first play.
"""

import os
import sys

from ansible.plugins.callback import CallbackBase

LIMITS = os.environ.get("CALLBOARD_LIMITS")


class CallbackModule(CallbackBase):
    """Loads like a callback and then works from around Ansible's own functions."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "callboard.callboard.callboard_run"

    def __init__(self) -> None:
        super().__init__()
        self.disabled = True  # no events are wanted
        if LIMITS:
            apply(LIMITS)


def apply(limits: str) -> None:
    """Apply them. Ansible takes a callback that fails for a warning, so the process ends here where that fails."""
    try:
        from ansible_collections.callboard.callboard.plugins.plugin_utils import run_limits  # noqa: PLC0415

        run_limits.apply(limits)
    except Exception as error:  # noqa: BLE001 - whatever it is
        sys.stderr.write(f"[ERROR]: callboard: the limits of a run can't be applied: {error}\n")
        sys.stderr.flush()
        raise SystemExit(1) from None
