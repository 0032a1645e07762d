# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of an action: what it does happens on the controller, in plugins/action/wait_for_heartbeat.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: wait_for_heartbeat
short_description: Wait until a host has said by itself that it runs a release and is healthy
version_added: 0.1.0
author:
  - The Callboard authors
description:
  - Waits until the Callboard service has received a heartbeat of the host that is newer than this task, that
    reports the wanted revision or release, and that is not unhealthy. Otherwise the task fails and says why,
    so that a play with C(serial) and C(max_fail_percentage=0) stops after the batch.
  - Only heartbeats count that the service received after the first host of the batch came to this task, by the
    service's own clock.
  - Healthy is what the health check of the host's agent says. A host whose agent has none is taken as healthy.
  - A host that has left its stage meanwhile is skipped and does not fail; so is one without an agent, which
    sends agentless heartbeats and cannot tell its release.
  - In a run of the service the run's executor is asked, over a socket in the run's private folder; no credential
    is needed. Elsewhere the service is asked, with the O(url) and token of the inventory file that the host came
    from, else with E(CALLBOARD_URL) and E(CALLBOARD_TOKEN).
options:
  revision:
    description: The revision that the host has to report; none is asked for when empty.
    type: str
    default: ""
  release:
    description: The number of the release that the host has to report; none is asked for when empty.
    type: str
    default: ""
  timeout:
    description: Seconds to wait. By default the stage's ttl, after which a silent host is stale.
    type: float
  poll:
    description: Seconds between two questions.
    type: float
    default: 1
  beat_command:
    description:
      - Run on the host by its shell, so that it beats at once and nobody waits for an interval. That it fails, or
        that there is no agent, is no error; the wait is then longer. Nothing is run when it is empty.
    type: str
    default: if command -v callboard-agent >/dev/null; then callboard-agent beat --now --give-up-seconds 10; fi
attributes:
  check_mode:
    description: The task is skipped in check mode.
    support: partial
"""

EXAMPLES = r"""
- name: Deploy in batches, each of which has to prove itself
  hosts: all
  serial: ["1", "25%", "100%"]
  max_fail_percentage: 0
  tasks:
    - name: Put the release there
      ansible.builtin.include_role:
        name: callboard.callboard.release

    - name: Wait for the host's own report
      callboard.callboard.wait_for_heartbeat:
        revision: "{{ callboard_revision }}"
"""

RETURN = r"""
heartbeat:
  description: What the host said last.
  returned: when the service could be asked
  type: dict
  sample:
    state: live
    release: 3
    revision: 8f14e45fceea167a5a36dedd4bea2543f36a31c9
    healthy: true
    reason: null
    reported_at: "2026-11-23T14:03:07.250Z"
waited_seconds:
  description: How long it took.
  returned: always
  type: float
"""
