"""Every sentence that was state at commit aec9e55: where it stood and how it read. The fixture holds each of them."""

from __future__ import annotations

import re
import sqlite3

_LOOK = r"What was under way may have completed; look at the hosts before you go on\."
_WHAT_TO_DO = r"did not show an SSH host key that is on record\. If the machine was reinstalled, .* do not connect\."
_GONE = {
    "host.gone_reason": [
        r"said goodbye",
        r"silent",
        r"replaced by a new machine of that name",
        r"removed by ada",
        r"removed by token:first-start",
        r"removed by join token \w+",
        r"EC2 says that i-\w+ is terminated",
        r"EC2 says that i-\w+ is stopped",
        r"scaled in \(decision \d+\)",
        r"shop-web ends i-\w+",
    ]
}
SENTENCES: dict[str, list[str]] = {
    **_GONE,
    "transition.reason": [
        *_GONE["host.gone_reason"],
        r"enrolled",
        r"enrolled, as the instance that was expected",
        r"enrolled again",
        r"heartbeat",
        r"renewed",
        r"added by ada",
        r"added by token:first-start",
        r"added by join token \w+",
        r"approved by ada",
        r"approved by token:first-start",
        r"expired by ada",
    ],
    "host.conflict": [
        r"the same address as the live host '[\w-]+': [\d.]+ port 22",
        r"two machines beat with this host's token \(a cloned image\?\); enrol each of them anew",
        r"EC2 says that i-\w+ is terminated, but it beats",
    ],
    "conflict.reason": [
        r"the same address as the live host '[\w-]+': [\d.]+ port 22",
        r"two machines beat with this host's token \(a cloned image\?\); enrol each of them anew",
    ],
    "host.host_key_mismatch": [
        r"run \d+ met a machine without a host key of record",
        r"a machine at [\d.]+ asked to enrol under its name with other keys",
        r"",
    ],
    "host.quarantine_reason": [
        r"Convergence gave up: 4 attempts to bring it to release \d+ failed; see run \d+: .+",
        r"Convergence gave up: I typed that by hand",
        r"smells of smoke",
        r"",
    ],
    "stage.freeze_reason": [r"\d+ of \d+ hosts fell silent within one ttl"],
    "service_state.value": [r".*the service has not heard its own heartbeat for \d+ s.*"],
    "run.error": [
        r"Canceled by grace before it started\.",
        r"Canceled by webhook:\w+ before it started\.",
        r"Canceled before it started: its stage was archived\.",
        r"Canceled by ada; the tasks in flight may have completed on their hosts\.",
        r"Not run: the stage is frozen, so it is unclear who is live\.",
        r"Not run: nobody is behind any more\.",
        r"Interrupted; the tasks in flight may have completed on their hosts\.",
        r"Stopped: it took longer than 5 s; the tasks in flight may have completed\.",
        r"Stopped: it was idle for 4 s, with no event and no output; the tasks in flight may have completed\.",
        rf"Its executor died with a task under way on web-1 \(Sleep long\), web-2 \(Sleep long\)\. {_LOOK}",
        rf"Its executor died; no host had a task under way, as far as is known\. {_LOOK}",
        rf"Its executor died; nothing is known\. {_LOOK}",
        r"The laptop fell silent\. If it kept a spool, `callboard spool send` there tells the rest\.",
        (
            r"1 of 5 hosts failed: web-3\. 2 of 5 hosts were unreachable: web-5, web-6\. "
            rf"Host key mismatch: web-6 {_WHAT_TO_DO} web-3: The disk of this host is full\."
        ),
        r"ansible-playbook ended with code 1: Could not match supplied host pattern, ignoring: nosuch",
        r"No hosts left: 1 of 1 fell silent before their turn\.",
        r"No hosts matched: the playbook's plays touched none of the run's hosts\. .*",
        r"No hosts matched: blog/live has no live host for this run\.",
        r"No hosts matched: none of the repeated run's hosts is there now: web-4 \(gone\)\.",
        (
            r"Stopped: 1 of the run's 2 hosts are unreachable, and the stage's maximum_unreachable of 0 allows 0\. "
            r"web-5: .*"
        ),
        (
            r"Stopped: \d+ of the \d+ hosts that were live at the start are left healthy, and the stage's "
            r"minimum_healthy of 100% asks for \d+\."
        ),
        r"'nosuch' matches no live host and no group of the stage\.",
        r"shop/production is frozen: too many of its hosts are silent to tell who is live\. .*",
        r"The source has no revision 'v9'; push it first, or name a branch, tag or commit\.",
        r"The source has no playbook 'missing\.yml' at this revision\.",
        r"asks\.yml asks for what was not answered, or not rightly: colour\. colour: .*",
        (
            r"1 of 3 hosts failed: web-2\. web-2: .* Run \d+ goes back to release \d+ on 2 of its hosts\. "
            r"The stage is locked\."
        ),
        r"1 of 1 hosts failed: blog-1\. blog-1: .* There is no release before it to go back to\. The stage is locked\.",
    ],
    "run.comment": [
        r"\d+ hosts? behind",
        r"Undoes run \d+, which stopped on its way",
        r"drain before scaling in \(decision \d+\)",
        r"drain before shop-web ends i-\w+",
        r"schedule nightly",
        r"branch:main by ada: .+",
    ],
    "run_host.status": [
        r"ok",
        r"changed",
        r"failed",
        r"unreachable",
        r"untouched",
        r"lost",
        r"gone",
        r"stale",
        r"conflict",
        r"skipped \(stale\)",
    ],
    "run_host.message": [
        r"Left out: it has left the stage\.",
        r"Left out: it has been silent since .*Z\.",
        r"The task 'Sleep long' was under way when the run ended; it may have completed\.",
        rf"Host key mismatch: web-6 {_WHAT_TO_DO}",
        r"replaced by a new machine of that name",
        r"silent for longer than its ttl",
        r"the same address as the live host '[\w-]+': [\d.]+ port 22",
    ],
    "run.snapshot": [
        r".*The secret db_password was set since run \d+\..*",
        r".*, on which run \d+ worked, is not live now\..*",
        r".*[\w-]+ has other SSH host keys than in run \d+; those of now are used\..*",
    ],
    "stage_lock.reason": [r"Somebody counts the hosts", r"Until Monday", r"The rollout of .*"],
    "webhook_delivery.detail": [
        r"Only pushes of branches and tags deploy\.",
        r"branch:main was deleted\.",
        r"branch:other is none of branch:main, tag:v\*\.",
        r"shop/production is frozen: .*",
        r"Run \d+ deploys [0-9a-f]{12}\.",
    ],
    "schedule.last_error": [
        r"No worker was there at \d{4}-\d\d-\d\d \d\d:\d\d UTC; that run was left out\.",
        r"Run \d+ of the time before is still queued; this one was left out\.",
        r"shop/production is frozen: .*",
    ],
    "notice.title": [
        r"Callboard: freeze\.begin for all stages",
        r"shop/staging: frozen, nobody expires",
        r"shop/staging: no longer frozen",
        r"shop/staging: a host is in conflict",
        r"shop/production: a host is in quarantine",
        r"shop/production: locked by grace",
        r"shop/production: unlocked by ada",
        r"shop/production: a schedule started nothing",
        r"shop/production: deploy 1( of release 1)? started",
        r"shop/production: deploy 1 of release 1 successful",
    ],
    "notice.error": [r".+"],
    "scaling_decision.reasons": [
        r".*hosts are right\..*",
        r".*the target 0\.6: \d+ hosts\..*",
        r".*hosts are enough\..*",
        r".*Bounded to \d+: there are to be \d+ to \d+\..*",
        r".*Held: the cooldown after adding hosts lasts \d+ s more\..*",
        r".*Held: run \d+ works on the hosts\..*",
        r".*Held: \d+ hosts do not serve yet\..*",
        r".*nobody reported load1_per_cpu for \d+ s\..*",
    ],
    "scaling_decision.error": [
        r"AWS refused a call about .*AccessDenied.*",
        r"The drain run \d+ was failed; no machine was ended, and its hosts serve again\.",
    ],
    "scaling_decision.status": [r"held", r"done", r"failed", r"dry_run"],
    "stage_scaling.problem": [
        r"AWS has no Auto Scaling group 'shop-fleet' in eu-central-1; was it deleted or renamed\?"
    ],
    "stage_scaling.findings": [
        r".* runs at EC2, and never enrolled here\..*",
        r".* runs at EC2 as i-\w+, and its agent is silent\..*",
        r".* beats, but EC2 says that i-\w+ is terminated\..*",
        r".*A tag of i-\w+ is no group\. .*",
        r".*; i-\w+ is gone\..*",
    ],
    "lifecycle_action.reason": [
        r"i-\w+ is live and runs what it should\.",
        r"a bad disk",
        r"The drain run \d+ was successful\.",
        r"The stage answers no hooks now\.",
        r"It has not enrolled yet\.",
    ],
    "lifecycle_action.status": [r"waiting", r"continued", r"abandoned", r"over"],
    "audit_entry.action": [
        *(f"user.{word}" for word in ("create", "update")),
        *(f"token.{word}" for word in ("create", "revoke")),
        *(f"project.{word}" for word in ("create", "update", "archive")),
        *(f"stage.{word}" for word in ("create", "update", "archive", "lock", "unlock", "expire", "override_lock")),
        *(f"freeze.{word}" for word in ("begin", "end")),
        *(f"join_token.{word}" for word in ("create", "revoke")),
        *(f"host.{word}" for word in ("enrol", "refuse", "update", "approve", "rotate", "add", "remove")),
        *(f"host.{word}" for word in ("conflict", "quarantine")),
        *(f"secret.{word}" for word in ("set", "remove")),
        *(f"run.{word}" for word in ("deploy", "rollback", "converge", "playbook", "recorded", "cancel")),
        *(f"run.{word}" for word in ("successful", "failed", "canceled", "timeout", "lost")),
        *(f"schedule.{word}" for word in ("create", "pause", "resume", "remove", "fail")),
        *(f"{noun}.{word}" for noun in ("webhook", "notification") for word in ("create", "remove")),
        *(f"scaling.{word}" for word in ("configure", "remove", "fail", "out", "in", "continue", "abandon")),
    ],
    "audit_entry.actor": [
        r"ada",
        r"grace",
        r"callboard",
        r"scaling",
        r"token:ci",
        r"schedule:nightly",
        r"webhook:\w+",
        r"enrolment",
        r"join token \w+",
        r"host:app-5",
    ],
    "audit_entry.details": [
        r".*the join token is unknown.*",
        r".*the join token was revoked.*",
        r".*the join token has expired.*",
        r".*the join token is used up.*",
        r".*the join token's stage is archived.*",
        r".*lies outside of the join token's networks, 10\.0\.0\.0/8.*",
        r".*the instance has enrolled already, or somebody replays its document.*",
        r'.*"reason": ?"signature".*',
        r".*A live host named 'web-1' with another address or other host keys is in this stage already.*",
        r".*The machine has the same address as the live host.*",
        r".*which lies in no network of its join token.*",
        r".*The automatic rollback of run \d+, run \d+, did not succeed: .*",
        r".*The rollout of release \d+ stopped \(run \d+\): .*",
    ],
}


def missing(file: str) -> list[str]:
    """`table.column: sentence` of each that this SQLite file has nowhere."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as opened:
        return [
            f"{place}: {sentence}"
            for place, wanted in SENTENCES.items()
            for values in [_values(opened, *place.split("."))]
            for sentence in wanted
            if not any(re.fullmatch(sentence, value, re.DOTALL) for value in values)
        ]


def _values(opened: sqlite3.Connection, table: str, column: str) -> list[str]:
    rows = opened.execute(f'SELECT DISTINCT CAST("{column}" AS TEXT) FROM "{table}" WHERE "{column}" IS NOT NULL')
    return [str(row[0]) for row in rows]
