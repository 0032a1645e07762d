"""known_hosts lines from the keys that hosts reported over their authenticated enrolment."""

from __future__ import annotations

from collections.abc import Iterable

from inventory_service.models import Host
from inventory_service.registry.listing import ListedHost

_SSH_PORT = 22


def render(listed: Iterable[Host | ListedHost]) -> str:
    """One line per host and key: `10.0.0.1 type base64`, or `[10.0.0.1]:2222 type base64`."""
    return "".join(f"{_target(host)} {key}\n" for host in listed for key in host.host_keys)


def _target(host: Host | ListedHost) -> str:
    return host.address if host.port == _SSH_PORT else f"[{host.address}]:{host.port}"
