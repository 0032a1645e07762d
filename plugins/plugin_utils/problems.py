# Copyright: The Callboard authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why something could not be had, in words for the user; and other people's words, made fit to be shown."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECK_URL = "check that 'url' is Callboard's address"
CHECK_VERSIONS = f"{CHECK_URL}, and that this plugin and the service are of the same version"


class Problem(Exception):  # noqa: N818 - not an error yet: who catches it may have a dated copy
    """Why there is no inventory: what happened and what to do next, half a sentence each.

    `is_down` says that the service could not answer at all, so that a dated copy may stand in; `stage` is
    the one that was being worked on, None before any was.
    """

    def __init__(self, happened: str, advice: str, *, is_down: bool = False) -> None:
        super().__init__(f"{happened}; {advice}")
        self.happened, self.advice, self.is_down = happened, advice, is_down
        self.stage: str | None = None


@contextlib.contextmanager
def working_on(stage: str | None) -> Iterator[None]:
    """Name the stage in a Problem that comes up meanwhile."""
    try:
        yield
    except Problem as problem:
        problem.stage = problem.stage or stage
        raise


def why(error: BaseException) -> str:
    """An exception's own words, short: without errno and OpenSSL's line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def plain(value: Any, token: str | None = None) -> str:
    """Somebody else's text as it may stand in a message: printable, short, and never with the token in it."""
    text = str(value).replace(token, "…") if token else str(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= 200 else f"{text[:200]}…"  # noqa: PLR2004
