# Copyright: the Callboard authors
# GNU General Public License v3.0+ (see LICENSE)
# ruff: noqa: E402, SLF001 - Ansible wants the documentation in front; and has no doors for what is done here
"""Cuts what callbacks get to see of a huge result."""

from __future__ import annotations

DOCUMENTATION = """
name: callboard_cut
type: aggregate
short_description: cuts what callbacks get to see of a huge result
description:
  - Belongs to the runs of Callboard's service and does nothing anywhere else.
  - A result of many megabytes would go through a terminal to the service, which takes minutes and much memory. Texts
    beyond the size in the environment variable E(CALLBOARD_LARGEST_TEXT) are cut for callbacks, and say so; variables
    that a task registers keep all of it.
author: the Callboard authors
"""

import functools
import os

from ansible.executor.task_result import _RawTaskResult
from ansible.plugins.callback import CallbackBase

VARIABLE = "CALLBOARD_LARGEST_TEXT"
_MOST_ITEMS = 10_000


class CallbackModule(CallbackBase):
    """Loads like a callback and then works from around what hands results to all others."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "callboard_cut"

    def __init__(self):
        super().__init__()
        self.disabled = True  # no events are wanted
        largest = os.environ.get(VARIABLE)
        if largest:
            put_in_place(int(largest))


def put_in_place(largest):
    original = _RawTaskResult.as_callback_task_result

    @functools.wraps(original)
    def as_callback_task_result(result):
        shown = original(result)
        shown._return_data = Cutter(largest).cut(shown._return_data)
        return shown

    _RawTaskResult.as_callback_task_result = as_callback_task_result


class Cutter:
    """Lets so many characters pass in all the texts of one result together; what comes after is cut."""

    def __init__(self, largest):
        self._left = largest

    def cut(self, value):
        """The same value, itself where nothing is cut."""
        if isinstance(value, (str, bytes)):
            return self._cut_text(value)
        if isinstance(value, dict):
            return self._cut_dict(value)
        return self._cut_list(value) if isinstance(value, (list, tuple)) else value

    def _cut_text(self, text):
        kept = max(0, self._left)
        self._left -= len(text)
        if len(text) <= kept:
            return text
        words = f"… [cut, {len(text)} characters]"
        return text[:kept] + (words if isinstance(text, str) else words.encode())

    def _cut_dict(self, value):
        items = {key: self.cut(item) for key, item in value.items()}
        return value if all(items[key] is item for key, item in value.items()) else items

    def _cut_list(self, value):
        items = []
        for item in value:
            if self._left <= 0 or len(items) >= _MOST_ITEMS:
                # Callbacks expect a loop's results to be nothing but dicts.
                return items if isinstance(item, dict) else [*items, f"… [cut, {len(value)} items]"]
            items.append(self.cut(item))
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
