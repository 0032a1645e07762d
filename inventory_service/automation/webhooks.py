"""Webhooks: a push of a branch or tag at GitHub or GitLab deploys that very commit.

GitHub signs the body (X-Hub-Signature-256), GitLab id, time and body after the Standard Webhooks specification
(webhook-signature), older GitLab only sends the secret along (X-Gitlab-Token). A signature says who wrote a body, not
that it is new: so each body is taken in once for each webhook, whatever the headers around it say.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import fnmatch
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any

import peewee as pw

from inventory_service import credentials, events
from inventory_service.automation import pushes
from inventory_service.automation.pushes import GITHUB, GITLAB, Push
from inventory_service.codes import statuses
from inventory_service.codes.automation import Delivery
from inventory_service.database import database
from inventory_service.deployments.launching import launch, requests
from inventory_service.deployments.launching.requests import RunRequest
from inventory_service.errors import CallboardError, InvalidError, NotFoundError, UnauthorizedError
from inventory_service.events import Actor, ActorKind, EventName
from inventory_service.models import Project, Run, Stage, Webhook, WebhookDelivery
from inventory_service.reasons import Reason, because, columns
from inventory_service.registry import liveness
from inventory_service.registry.stages import stage_name
from inventory_service.settings import Settings
from inventory_service.vault import keyring
from inventory_service.wording import automation as wording

DEPLOYED, IGNORED, REFUSED, REPEATED = "deployed", "ignored", "refused", "repeated"
_REFUSED = "This webhook's signature does not hold."
_FRESH_SECONDS = 300
_REF = re.compile(r"(branch|tag):[A-Za-z0-9_*?][A-Za-z0-9_./*?@#+-]{0,199}")
_MOST_REFS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came of a delivery: DEPLOYED, IGNORED or REFUSED, the reason, and the run that it made."""

    outcome: str
    reason: Reason
    run_id: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """What a delivery is answered: an outcome of those, or REPEATED, and a sentence."""

    outcome: str
    detail: str
    run_id: int | None = None


def create(
    stage: Stage,
    *,
    provider: str,
    refs: list[str],
    description: str,
    extra_vars: dict[str, Any] | None = None,
    settings: Settings,
    actor: Actor,
    at: dt.datetime,
) -> tuple[Webhook, str]:
    """Add a webhook; returns it and its secret, which is told this once. `extra_vars`: those of its deploys.

    Raises InvalidError, also where the stage's deploy playbook asks for what nobody would answer.
    """
    _check(provider, refs)
    request = RunRequest(kind=statuses.DEPLOY, extra_vars=extra_vars or {})
    answers = launch.settle(stage, request, settings).extra_vars
    own, secret = credentials.new_id(), "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    with database.atomic():
        row = Webhook.create(
            id=own,
            stage=stage,
            provider=provider,
            description=description,
            refs=refs,
            extra_vars=answers,
            sealed_secret=keyring.load(settings).seal(secret, context=_context(own)),
            created_by=actor.name,
            created_at=at,
        )
        details = {"id": own, "refs": refs}
        events.record(EventName.WEBHOOK_CREATE, events.target(stage), actor=actor, at=at, details=details)
    return row, secret


def _context(webhook_id: str) -> str:
    return f"the webhook {webhook_id}"


def _check(provider: str, refs: list[str]) -> None:
    if provider not in (GITHUB, GITLAB):
        raise InvalidError.at("provider", f"{provider[:40]!r} is no provider; write {GITHUB} or {GITLAB}.")
    if not 0 < len(refs) <= _MOST_REFS:
        raise InvalidError.at("refs", f"Name 1 to {_MOST_REFS} branches or tags, such as branch:main and tag:v*.")
    for ref in refs:
        if not _REF.fullmatch(ref):
            raise InvalidError.at("refs", f"{ref[:60]!r} is not understood; write it like branch:main or tag:v*.")


def list_of(stage: Stage) -> list[Webhook]:
    """The stage's webhooks, oldest first."""
    return list(Webhook.select().where(Webhook.stage == stage).order_by(Webhook.created_at, Webhook.id))


def find(stage: Stage, webhook_id: str) -> Webhook:
    """The stage's webhook of that id. Raises NotFoundError."""
    row = Webhook.get_or_none((Webhook.stage == stage) & (Webhook.id == webhook_id))
    if row is None:
        raise NotFoundError(f"{stage_name(stage)} has no webhook {webhook_id[:40]!r}.")
    return row


def deliveries(webhook: Webhook, *, limit: int = 50) -> list[WebhookDelivery]:
    """What came in, newest first."""
    query = WebhookDelivery.select().where(WebhookDelivery.webhook == webhook)
    return list(query.order_by(WebhookDelivery.id.desc()).limit(limit))


def remove(webhook: Webhook, *, actor: Actor, at: dt.datetime) -> None:
    """End a webhook; the runs that it started stay."""
    with database.atomic():
        Webhook.delete().where(Webhook.id == webhook.id).execute()
        target, details = events.target(webhook.stage), {"id": webhook.id}
        events.record(EventName.WEBHOOK_REMOVE, target, actor=actor, at=at, details=details)


def receive(
    webhook_id: str, headers: Mapping[str, str], body: bytes, *, settings: Settings, peer: str, at: dt.datetime
) -> Received:
    """Take one delivery in; names of headers in lower case.

    Raises UnauthorizedError, in the same words for every reason, and InvalidError for what is no push.
    """
    webhook = _authentic(webhook_id, headers, body, settings=settings, at=at)
    event, push = pushes.read(webhook.provider, headers, body)
    digest = hashlib.sha256(body).hexdigest()
    known = WebhookDelivery.get_or_none((WebhookDelivery.webhook == webhook) & (WebhookDelivery.digest == digest))
    if known is not None:
        return _repeated(known)
    try:
        with database.atomic():
            row = WebhookDelivery.create(
                webhook=webhook,
                digest=digest,
                at=at,
                event=event,
                outcome=REFUSED,
                **columns("detail", because(Delivery.UNFINISHED)),
            )
            answer = _act(webhook, push, peer=peer, at=at)
            fields = {"ref": push and push.ref, "revision": push and push.revision, "run_id": answer.run_id}
            fields |= {"outcome": answer.outcome, **columns("detail", answer.reason)}
            WebhookDelivery.update(**fields).where(WebhookDelivery.id == row.id).execute()
    except pw.IntegrityError:  # the same body came twice at once
        return Received(REPEATED, "This delivery is being taken in already.")
    return Received(answer.outcome, wording.delivery(answer.reason.code, answer.reason.params), answer.run_id)


def _repeated(known: WebhookDelivery) -> Received:
    detail = wording.delivery(known.detail_code, known.detail_params)
    return Received(REPEATED, f"This delivery was taken in before: {known.outcome}. {detail}", known.run_id)


def _authentic(
    webhook_id: str, headers: Mapping[str, str], body: bytes, *, settings: Settings, at: dt.datetime
) -> Webhook:
    query = Webhook.select(Webhook, Stage, Project).join(Stage).join(Project)
    webhook: Webhook | None = query.where((Webhook.id == webhook_id) & Stage.archived_at.is_null()).first()
    if webhook is None:
        raise UnauthorizedError(_REFUSED)
    secret: str = keyring.load(settings).open(webhook.sealed_secret, context=_context(webhook.id))
    is_by_github = webhook.provider == GITHUB
    if not (_is_by_github(secret, headers, body) if is_by_github else _is_by_gitlab(secret, headers, body, at=at)):
        raise UnauthorizedError(_REFUSED)
    return webhook


def _is_by_github(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries."""
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return _is_same(wanted, headers.get("x-hub-signature-256", ""))


def _is_by_gitlab(secret: str, headers: Mapping[str, str], body: bytes, *, at: dt.datetime) -> bool:
    """A signature beats the plain token of older versions: a wrong one is not mended by the token beside it."""
    signatures = headers.get("webhook-signature", "")
    if not signatures:
        return _is_same(secret, headers.get("x-gitlab-token", ""))
    name, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not re.fullmatch(r"[0-9]{1,12}", sent) or abs(at.timestamp() - int(sent)) > _FRESH_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    made = hmac.new(key, f"{name}.{sent}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(made).decode()
    return any(_is_same(wanted, signature) for signature in signatures.split(" ")[:8])


def _is_same(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace"))


def _act(webhook: Webhook, push: Push | None, *, peer: str, at: dt.datetime) -> Answer:
    if push is None:
        return Answer(IGNORED, because(Delivery.NO_PUSH))
    if push.revision is None:
        return Answer(IGNORED, because(Delivery.REF_DELETED, ref=push.ref))
    if not any(fnmatch.fnmatchcase(push.ref, pattern) for pattern in webhook.refs):
        return Answer(IGNORED, because(Delivery.OTHER_REF, ref=push.ref, refs=webhook.refs))
    actor = Actor(f"webhook:{webhook.id}", peer, kind=ActorKind.WEBHOOK, id=webhook.id)
    comment = f"{push.ref} by {push.by}: {push.message}"[:2000]
    wanted = RunRequest(
        kind=statuses.DEPLOY, revision=push.revision, comment=comment, extra_vars=webhook.extra_vars or {}
    )
    try:
        expiry = liveness.expiry(at=at, gone_after_seconds=0)
        run = launch.launch(webhook.stage, wanted, actor=actor, expiry=expiry)
    except CallboardError as error:
        return Answer(REFUSED, because(Delivery.REFUSED, text=error.detail))
    _supersede(run, actor=actor, at=at)
    return Answer(DEPLOYED, because(Delivery.DEPLOYS, run=run.id, revision=push.revision), run.id)


def _supersede(run: Run, *, actor: Actor, at: dt.datetime) -> None:
    """Older pushes of the same webhook that still wait would only be deployed over."""
    mine = (Run.created_by_kind == str(actor.kind)) & (Run.created_by_id == actor.id)
    older = (Run.stage == run.stage_id) & mine & (Run.id < run.id)
    for waiting in Run.select().where(older & (Run.status == statuses.QUEUED)):
        requests.cancel(waiting, actor=actor, at=at)


def prune(*, at: dt.datetime, days: int) -> int:
    """Forget what was delivered long ago, but not the digests that keep old pushes from coming back.

    Returns how many rows lost their words.
    """
    old = (WebhookDelivery.at < at - dt.timedelta(days=days)) & (WebhookDelivery.detail_code != str(Delivery.FORGOTTEN))
    forgotten = columns("detail", because(Delivery.FORGOTTEN))
    return int(WebhookDelivery.update(**forgotten, ref=None, revision=None).where(old).execute())
