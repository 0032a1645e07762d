# Copyright: the Callboard authors
# GNU General Public License v3.0+ (see LICENSE)
# ruff: noqa: E402 - Ansible wants the documentation in front
"""Ends a run that asks for what was not answered at its launch."""

from __future__ import annotations

DOCUMENTATION = """
name: callboard_prompts
type: aggregate
short_description: ends a run that asks for what was not answered at its launch
description:
  - Belongs to the runs of Callboard's service and does nothing anywhere else.
  - The service finds C(vars_prompt) in playbooks and asks at the launch. Where it could not find one, such as in a
    playbook of a collection, nobody is there to answer; Ansible would go on without a value.
author: the Callboard authors
"""

import os

from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible.utils.display import Display

VARIABLE = "CALLBOARD_UNATTENDED"


class CallbackModule(CallbackBase):
    """Loads like a callback and then stands in the place of the terminal."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "callboard_prompts"

    def __init__(self):
        super().__init__()
        self.disabled = True  # no events are wanted
        if os.environ.get(VARIABLE):
            Display.do_var_prompt = refuse


def refuse(_display, varname, *_words, **_more):
    raise AnsibleError(
        f"The playbook asks for {varname}, which was not answered at the launch: give it as an extra var."
    )
