"""Checks before a deploy: every reason why it is impossible now, or unwise. Nothing is changed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from inventory_service.adapters import runner
from inventory_service.content import content_dir
from inventory_service.deployments import locks
from inventory_service.deployments.prompting import answering, prompt_files
from inventory_service.deployments.source.sources import SHIPPED, Source, find_playbook, folder_reader
from inventory_service.errors import SourceError
from inventory_service.models import Host, JobTick, Stage
from inventory_service.registry import hosts, liveness
from inventory_service.settings import Settings
from inventory_service.vault import kinds, references, store
from inventory_service.wording import lists
from inventory_service.wording import lock as wording

IMPOSSIBLE, UNWISE = "impossible", "unwise"
_WORKER_SILENCE = dt.timedelta(seconds=60)
_MEBIBYTE = 2**20
_NO_VAULT = "no vault secrets found"  # of Ansible's words


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One reason: `level` (IMPOSSIBLE or UNWISE), a stable `code`, what is the matter, and what to do next."""

    level: str
    code: str
    detail: str
    advice: str


def check_stage(
    stage: Stage,
    settings: Settings,
    *,
    expiry: liveness.Expiry,
    revision: str | None = None,
    playbook: str | None = None,
) -> list[Finding]:
    """The findings for a deploy of `revision` (default: the stage's own) now, or for a run of `playbook` there; the
    impossible ones first.

    Fetches the source and asks Ansible to check the playbook's syntax, so it takes a second or more.
    """
    found = [*check_surroundings(stage, settings, expiry=expiry)]
    found += _about_source(stage, settings, revision or stage.default_revision, playbook)
    return sorted(found, key=lambda finding: finding.level != IMPOSSIBLE)


def check_surroundings(stage: Stage, settings: Settings, *, expiry: liveness.Expiry) -> list[Finding]:
    """The findings that need neither source nor Ansible, and so are there at once."""
    found = [
        *_about_hosts(stage, hosts.live_hosts(stage, expiry=expiry), expiry=expiry),
        *_about_turns(stage, expiry=expiry),
        *_about_this_machine(settings),
        *_about_secrets(stage),
    ]
    return sorted(found, key=lambda finding: finding.level != IMPOSSIBLE)


def _about_hosts(stage: Stage, live: list[Host], *, expiry: liveness.Expiry) -> Iterator[Finding]:
    if not live:
        yield Finding(
            IMPOSSIBLE, "no-live-hosts", "No host of the stage is live.", "Let machines enrol, or start them."
        )
    if expiry.is_paused(stage):
        yield Finding(
            IMPOSSIBLE,
            "expiry_paused",
            "Expiry is paused: too many hosts are silent to tell who is live.",
            "Find out why they are silent; expire them, or allow the run while expiry is paused.",
        )
    without_key = [host.name for host in live if not host.host_keys]
    if without_key:
        yield Finding(
            IMPOSSIBLE if len(without_key) == len(live) else UNWISE,
            "no-host-key",
            f"No SSH host key is known of {lists.first(without_key)}; a run can't reach them.",
            "Let the agent enrol them (it reports the keys), or take them out.",
        )
    conflicts = [host.name for host in hosts.list_hosts(stage) if host.conflict_code is not None]
    if conflicts:
        yield Finding(
            UNWISE, "conflict", f"In conflict, and so left out: {lists.first(conflicts)}.", "Look at each host's page."
        )
    quarantined = [host.name for host in live if host.quarantine_code is not None]
    if quarantined:
        yield Finding(
            UNWISE,
            "quarantined",
            f"Quarantined, that is, excluded from convergence: {lists.first(quarantined)}.",
            "Mend them, or release them from quarantine.",
        )


def _about_turns(stage: Stage, *, expiry: liveness.Expiry) -> Iterator[Finding]:
    lock = locks.find(stage, locks.BY_PERSON)
    if lock is not None:
        yield Finding(
            IMPOSSIBLE,
            "locked",
            f"Locked by {lock.locked_by}: {wording.why(lock.reasons)}.",
            "Ask them, unlock the stage, or override the lock with a reason.",
        )
    waiting = locks.active_runs(stage.id).count()
    if waiting:
        active = "1 run is" if waiting == 1 else f"{waiting} runs are"
        yield Finding(UNWISE, "busy", f"{active} at work or waiting here.", "A new run waits for its turn.")
    tick = JobTick.get_or_none(JobTick.name == "sweep")
    if tick is None or tick.last_finished_at is None or expiry.at - tick.last_finished_at > _WORKER_SILENCE:
        yield Finding(
            IMPOSSIBLE, "no-worker", "No worker has looked for runs for a minute.", "Start `callboard worker`."
        )


def _about_this_machine(settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(settings.data_dir).free // _MEBIBYTE
    if free < 2 * settings.free_space_mb:
        yield Finding(
            IMPOSSIBLE if free < settings.free_space_mb else UNWISE,
            "disk-space",
            f"Only {free} MB are free in {settings.data_dir}; a run needs {settings.free_space_mb} MB.",
            "Make room, or change CALLBOARD_FREE_SPACE_MB.",
        )


def _about_secrets(stage: Stage) -> Iterator[Finding]:
    unset = store.missing(references.names([stage.project.variables, stage.variables]), store.list_for_stage(stage))
    if unset:
        name = f"{stage.project.name}/{stage.name}"
        yield Finding(
            IMPOSSIBLE,
            "secret-missing",
            f"Variables refer to secrets that are not set: {lists.first(unset)}.",
            f"Set them: callboard secret set {name} {unset[0]}",
        )


def _about_source(stage: Stage, settings: Settings, revision: str, playbook: str | None) -> Iterator[Finding]:
    source = Source(stage.project, settings)
    with tempfile.TemporaryDirectory(prefix="cb-") as folder:
        try:
            checkout = Path(folder) / "source"
            source.checkout(source.resolve(revision), checkout)
        except SourceError as error:
            yield Finding(IMPOSSIBLE, "source", error.detail, "See to the project's source, or name another revision.")
            return
        if playbook is not None:
            yield from _about_playbook(stage, checkout, playbook, IMPOSSIBLE, shipped=())
            return
        for own, level in ((stage.deploy_playbook, IMPOSSIBLE), (stage.rollback_playbook, UNWISE)):
            yield from _about_playbook(stage, checkout, own, level, shipped=SHIPPED)
        yield from _about_prompts(stage, checkout)


def _about_playbook(
    stage: Stage, checkout: Path, playbook: str, level: str, *, shipped: tuple[str, ...]
) -> Iterator[Finding]:
    try:
        path = find_playbook(checkout, playbook, shipped=shipped)
    except SourceError as error:
        yield Finding(level, "playbook-missing", error.detail, "Add it to the source, or set the stage's playbook.")
        return
    try:
        prompt_files.find(folder_reader(checkout), playbook)
    except SourceError as error:
        yield Finding(level, "prompts", error.detail, "Mend what the playbook asks for, and push it.")
    complaint = runner.check_syntax(checkout, path, content_dir=content_dir())
    if complaint is not None and _NO_VAULT in complaint:
        yield from _about_vault(stage, playbook, level)
    elif complaint is not None:
        yield Finding(level, "playbook-syntax", f"{playbook}: {complaint}", "Mend the playbook and push it.")


def _about_vault(stage: Stage, playbook: str, level: str) -> Iterator[Finding]:
    """A check gets no vault password, so it sees no further than the first encrypted file; a run gets the stage's."""
    if any(row.kind == kinds.VAULT_PASSWORD for row in store.list_for_stage(stage)):
        return
    name = f"{stage.project.name}/{stage.name}"
    yield Finding(
        level,
        "vault-password",
        f"{playbook} reads files that are encrypted with Ansible Vault, and {name} has no vault password.",
        f"Keep it as a secret: callboard secret set {name} VAULT_ID --kind vault_password",
    )


def _about_prompts(stage: Stage, checkout: Path) -> Iterator[Finding]:
    """Convergence brings later hosts to the release; a secret answer to the deploy is not kept for it."""
    if not stage.has_convergence:
        return
    try:
        asked = answering.asked_by(stage, folder_reader(checkout), stage.deploy_playbook)
    except SourceError:  # found above
        return
    lost = [one.prompt.name for one in asked if one.is_open and one.prompt.is_secret]
    if lost:
        yield Finding(
            UNWISE,
            "secret-prompt",
            f"{stage.deploy_playbook} asks for {lists.first(lost)} in secret; convergence has nobody to ask.",
            f"Keep it as a secret of the stage: callboard secret set {stage.project.name}/{stage.name} {lost[0]}",
        )
