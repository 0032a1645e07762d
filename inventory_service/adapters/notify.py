"""Apprise: one message to one address, whatever service stands behind it.

Imported when the first message is sent: it brings well over a hundred services along.
"""

from __future__ import annotations

import contextlib
import io
import logging

from inventory_service.errors import InvalidError

# Addresses that would act on the service's own machine instead of sending word to somebody.
_LOCAL = frozenset({"dbus", "qt", "kde", "glib", "gnome", "macosx", "windows", "syslog", "console", "file"})
# Apprise logs whole addresses, and those hold passwords: what it says goes to who sends, not into the service's log.
_apprise_log = logging.getLogger("apprise")
_apprise_log.propagate = False
_apprise_log.addHandler(logging.NullHandler())


def check_url(url: str) -> str:
    """The service's name as Apprise knows it, such as `Slack`. Raises InvalidError; the URL is not repeated."""
    import apprise  # noqa: PLC0415 - 0.3 s

    scheme = url.partition("://")[0].lower()
    target = None if scheme in _LOCAL else apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if target is None:
        raise InvalidError.at(
            "url", "Apprise does not know this address, or it means this machine; see appriseit.com/services for them."
        )
    return str(target.service_name)


def send(url: str, *, title: str, body: str) -> str | None:
    """Send it; what went wrong in one line, None when it was taken. Never raises."""
    import apprise  # noqa: PLC0415

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    _apprise_log.addHandler(handler)
    try:
        asset = apprise.AppriseAsset(app_id="Callboard", app_desc="Callboard", async_mode=False)
        sender = apprise.Apprise(asset=asset)
        with contextlib.suppress(Exception):
            if sender.add(url) and sender.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
                return None
    finally:
        _apprise_log.removeHandler(handler)
    lines = [line.strip() for line in stream.getvalue().splitlines() if line.strip()]
    return (lines[-1] if lines else "Apprise could not send it.")[:300]
