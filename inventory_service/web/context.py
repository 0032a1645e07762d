"""What a request handler needs from the application: settings, clock, and who calls from where."""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress

from flask import current_app, g, request

from inventory_service.adapters.group_commit import GroupCommit
from inventory_service.clock import Clock
from inventory_service.models import Host, Stage
from inventory_service.records.heartbeat import Heartbeat
from inventory_service.registry import liveness, past
from inventory_service.registry.enrolment import IdentityRules
from inventory_service.registry.heartbeat_intake import HeartbeatIntake
from inventory_service.registry.heartbeats import Renewal
from inventory_service.settings import Settings
from inventory_service.web.log_stream import Streams
from inventory_service.web.refusals import Refusals


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """Made once by `create_app`."""

    settings: Settings
    clock: Clock
    intake: HeartbeatIntake
    heartbeats: GroupCommit[tuple[str, Heartbeat], Renewal]
    identity_rules: IdentityRules | None
    streams: Streams
    refusals: Refusals
    audited_refusals: Refusals  # of agentless heartbeats, which a cron repeats for ever


def services() -> Services:
    """The application's services."""
    found: Services = current_app.extensions["callboard"]
    return found


def now() -> dt.datetime:
    """The time of this request: read once, the same throughout."""
    if "now" not in g:
        g.now = services().clock.now()
    found: dt.datetime = g.now
    return found


def expiry(at: dt.datetime | None = None) -> liveness.Expiry:
    """Who is live, judged at this moment."""
    known = services()
    gone_after_seconds, failing_since = known.settings.gone_after_seconds, known.intake.failing_since()
    return liveness.expiry(at=at or now(), gone_after_seconds=gone_after_seconds, failing_since=failing_since)


def states_at(stage: Stage, moment: dt.datetime) -> dict[Host, str]:
    """Who was in the stage at a moment of the past, each with the state then."""
    return past.states_at(stage, moment, expiry=expiry(), kept_days=services().settings.transition_days)


def peer() -> str:
    """The caller's address. X-Forwarded-For counts only as far as it was written by trusted proxies."""
    address = _plain(request.remote_addr or "0.0.0.0")  # noqa: S104 - a placeholder, nothing is bound
    trusted = [ipaddress.ip_network(text, strict=False) for text in services().settings.trusted_proxies]
    for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not _is_in(address, trusted) or not _is_address(hop.strip()):
            break
        address = _plain(hop.strip())
    return address


def _plain(text: str) -> str:
    """An address in its canonical spelling; an IPv4 one that came through an IPv6 socket as the IPv4 one it is."""
    if not _is_address(text):
        return text
    parsed = ipaddress.ip_address(text)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in network for network in networks)
