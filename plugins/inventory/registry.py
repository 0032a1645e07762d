# -*- coding: utf-8 -*-
# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402, F401 - Ansible wants the documentation in front of the imports, and its class here
"""Callboard's inventory plugin, as Ansible finds it. What it does is in plugins/plugin_utils/live_inventory.py.

This file is read by whatever Ansible and Python there are, 2.7 included, so that they can say what is wrong.
"""

from __future__ import absolute_import, division, print_function

DOCUMENTATION = r"""
name: registry
short_description: The hosts of a Callboard stage that are live right now
version_added: 0.1.0
author:
  - The Callboard authors
description:
  - Asks a Callboard service which hosts of a stage are live, and hands them to Ansible with their groups
    and variables.
  - The inventory file's name must end in C(registry.yml), C(registry.yaml), C(callboard.yml) or
    C(callboard.yaml).
  - Each stage becomes the group C(stage_<project>_<stage>), which carries the stage's variables. Beside it
    come one group for each host group of the stage, C(release_<n>) for the hosts that run release n,
    C(out_of_date) for those that are not on the desired release, C(draining), and C(serving) for those on
    the desired release that do not drain.
  - Hosts have C(ansible_host), C(ansible_port) and variables that begin with C(callboard_). Whatever a host
    says about itself is in C(callboard_reported) and is never treated as a template.
  - An inventory that cannot be had ends C(ansible-playbook) and C(ansible-inventory) with exit code 4, with
    or without an C(ansible.cfg). It is never an empty success.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Names this plugin. The long name is for the installed collection C(callboard.callboard).
    type: str
    required: true
    choices: [registry, callboard.callboard.registry]
  url:
    description:
      - Where the service answers, C(http) or C(https), with a path in front of C(/api) if a proxy adds one.
      - As with every inventory plugin, what the file says wins over the environment; leave it out of the
        file to choose the service by E(CALLBOARD_URL).
      - E(HTTP_PROXY), E(HTTPS_PROXY) and E(NO_PROXY) are respected, except for a service on this machine.
    type: str
    default: http://127.0.0.1:8500
    env:
      - name: CALLBOARD_URL
  token:
    description:
      - A token that may read the stage, such as C(cbu_…) of a person or a CI job with the role viewer.
      - Better given by E(CALLBOARD_TOKEN), by O(token_file) or as a vaulted string than written in the
        file.
      - It is sent to O(url) and nowhere else, and appears in no message.
    type: str
    env:
      - name: CALLBOARD_TOKEN
  token_file:
    description: A file that holds the token, relative to the inventory file. Used where no O(token) is given.
    type: str
  stages:
    description:
      - The stages to list, written C(project/stage).
      - Required, except with O(snapshot), where it may be given to check that the snapshot is of that
        stage.
    type: list
    elements: str
    default: []
  states:
    description:
      - List hosts in these states, such as V(live), V(late), V(stale) or V(pending), rather than those that
        are live.
    type: list
    elements: str
    default: []
  only_groups:
    description:
      - List only hosts that are in one of these groups of their stage. The service chooses them, so that ten
        hosts of ten thousand cost what ten hosts cost.
      - Not together with O(at), and not for the groups that Callboard makes itself.
    type: list
    elements: str
    default: []
  at:
    description:
      - The stage as it was at this time, ISO 8601 with a time zone, such as V(2026-11-23T14:03:00Z).
    type: raw
  timeout:
    description:
      - Seconds to wait for the connection, and for each next piece of the answer. The whole answer may take
        ten times as long.
    type: float
    default: 10
  ca_path:
    description:
      - A file or folder with the certificates of the authorities that may vouch for the service, relative
        to the inventory file. The system's authorities are used otherwise.
    type: str
  snapshot:
    description:
      - Read this JSON file, of the same shape as the service's answer, relative to the inventory file. No
        network is used, and O(url), O(token), O(states), O(only_groups), O(at), O(known_hosts) and O(cache) have
        no effect.
      - This is how a run repeats with exactly the hosts that an earlier run had.
    type: str
  known_hosts:
    description:
      - Fetch the SSH host keys that the stage's hosts enrolled with, keep them in a file of the user's own
        (C(~/.cache/callboard/known_hosts) or below E(XDG_CACHE_HOME)) and make ssh believe these and no
        others.
      - This appends C(-o UserKnownHostsFile=… -o GlobalKnownHostsFile=/dev/null -o
        StrictHostKeyChecking=yes -o UpdateHostKeys=no) to C(ansible_ssh_common_args) of the stage's group,
        after what the stage's variables or else Ansible's own configuration put there.
    type: bool
    default: true
  trusted_stage_variables:
    description:
      - Treat strings in the stage's variables as templates, so that V(/srv/{{ callboard_project }}) works
        in them.
      - Whoever may edit a stage's variables may then run commands on this machine. Variables of hosts are
        never treated as templates, whatever this says.
    type: bool
    default: false
  stale_cache:
    description:
      - Keep a dated copy of each answer, and use it with a warning that tells its age when the service is
        down (no connection, no answer in time, or a failure of the service itself).
      - Independent of O(cache). A refused token or an unknown stage stays an error.
    type: bool
    default: false
notes:
  - With O(cache=true) an answer is used for O(cache_timeout) seconds, so hosts that came or went meanwhile
    are not seen. C(--flush-cache) asks anew. The default cache plugin V(memory) keeps nothing between two
    commands; use V(ansible.builtin.jsonfile), and keep its folder private, since stage variables lie in it.
  - The service sends ready-made groups. O(compose), O(groups) and O(keyed_groups) cost about 1.5 ms for
    each host.
  - A O(keyed_groups) entry built on C(callboard_reported) lets a host choose its own group; give it a
    O(keyed_groups[].prefix).
"""

EXAMPLES = r"""
# registry.yml: ansible-inventory -i registry.yml --graph
plugin: registry  # callboard.callboard.registry where the collection is installed
url: http://127.0.0.1:8500
stages: [shop/production]
---
# A service behind TLS with a private authority; the token is in a file
plugin: callboard.callboard.registry
url: https://callboard.example
token_file: ~/.config/callboard/token
ca_path: ca.pem
stages:
  - shop/production
  - shop/staging
---
# Who was there this afternoon?
plugin: registry
stages: [shop/production]
at: "2026-11-23T14:03:00Z"
---
# One answer serves all commands of the next minute; when the service is down, the last answer of all does
plugin: registry
stages: [shop/production]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/callboard/inventory
cache_timeout: 60
stale_cache: true
---
# Groups and variables of your own making
plugin: registry
stages: [shop/production]
compose:
  is_small: callboard_reported.memory_mb | default(0) < 2048
groups:
  canary: inventory_hostname.endswith('-1')
keyed_groups:
  - key: callboard_reported.zone
    prefix: zone
---
# What a run froze; no network
plugin: registry
snapshot: inventory.json
"""

import re
import sys


def end(message):
    """End the process: Ansible would take it for a warning and go on without hosts, exit code 0."""
    sys.stderr.write("[ERROR]: Callboard's inventory plugin " + message + "\n")
    sys.stderr.flush()
    raise SystemExit(4)


try:
    from ansible.release import __version__ as core

    if [int(number) for number in re.findall("[0-9]+", core)[:2]] < [2, 19]:
        end(
            "needs ansible-core 2.19 or newer on Python 3.11 or newer, but this is %s on Python %s: install that."
            % (core, sys.version.split()[0])
        )
    from ansible_collections.callboard.callboard.plugins.plugin_utils.live_inventory import InventoryModule
except Exception as error:  # noqa: BLE001 - whatever it is, there is no inventory
    end(
        "can't be loaded: %s. Ansible has to find all of the collection callboard.callboard: install it, or name the "
        "folder that holds ansible_collections in ANSIBLE_COLLECTIONS_PATH." % error
    )
