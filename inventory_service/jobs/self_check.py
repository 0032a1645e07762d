"""The self-check: the worker sends the service a heartbeat over the way that hosts take.

When it does not arrive, the self-check fails, and the silence of hosts says nothing about them.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import urllib.error
import urllib.request

from inventory_service.registry import self_check

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 5
_UNAUTHORIZED = 401


class SelfCheck:
    """Made once by each worker. `url`: the service's, as hosts know it."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v1/heartbeat"
        self._token = ""

    def beat(self, at: dt.datetime) -> None:
        """Send one heartbeat. That it fails is no error here: the expiry guard concludes from the silence."""
        if not self._token or self._send(at) == _UNAUTHORIZED:  # another worker has made a newer token
            self._token = self_check.make_token()
            self._send(at)

    def _send(self, at: dt.datetime) -> int | None:
        body = json.dumps({"boot_id": "self-check", "seq": int(at.timestamp() * 1000)}).encode()
        request = urllib.request.Request(self._url, data=body, method="POST")  # noqa: S310 - our own address
        request.add_header("Authorization", f"Bearer {self._token}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            log.warning("the service answered its own heartbeat with %s", error.code)
            return error.code
        except (urllib.error.URLError, OSError) as error:
            log.warning("the service's own heartbeat did not reach %s: %s", self._url, error)
            return None
