"""The canary: the worker sends the service a heartbeat through the front door that hosts use.

When it does not arrive, the service is deaf, and the silence of hosts says nothing about them.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import urllib.error
import urllib.request

from inventory_service.registry import expiry_guard

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5
_UNAUTHORIZED = 401


class Canary:
    """Made once by each worker; `sing` beats once."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1/heartbeat"
        self._token = ""

    def sing(self, at: dt.datetime) -> None:
        """Send one heartbeat. That it fails is no error here: the watch draws its conclusion from the silence."""
        if not self._token or self._send(at) == _UNAUTHORIZED:  # another worker has made a newer canary
            self._token = expiry_guard.make_canary()
            self._send(at)

    def _send(self, at: dt.datetime) -> int | None:
        body = json.dumps({"boot_id": "canary", "seq": int(at.timestamp() * 1000)}).encode()
        request = urllib.request.Request(self._url, data=body, method="POST")  # noqa: S310 - our own address
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            log.warning("the canary's heartbeat was answered with %s", error.code)
            return error.code
        except (urllib.error.URLError, OSError) as error:
            log.warning("the canary's heartbeat did not reach %s: %s", self._url, error)
            return None
