"""Why runs ended, what became of their hosts, why stages are locked, why schedules failed and what pushes did become
codes with parameters; who launched, canceled and locked becomes a kind with an id. Sentences that are not understood
become the code `other`.
"""

import ast
import json
import re

import peewee as pw

_BATCH = 100
EMPTY = (
    ("run", "end_reasons", "[]"),
    ("stage_lock", "reasons", "[]"),
    ("webhook_delivery", "detail_params", "{}"),
)


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("run", "created_by_kind", pw.TextField(default="person")),
        migrator.add_column("run", "created_by_id", pw.TextField(null=True)),
        migrator.add_column("run", "cancel_requested_by_kind", pw.TextField(null=True)),
        migrator.add_column("run", "cancel_requested_by_id", pw.TextField(null=True)),
        migrator.add_column("run", "end_code", pw.TextField(null=True)),
        migrator.add_column("run", "end_reasons", pw.JSONField(null=True)),
        migrator.add_column("run_host", "message_code", pw.TextField(null=True)),
        migrator.add_column("run_host", "message_params", pw.JSONField(null=True)),
        migrator.add_column("stage_lock", "locked_by_kind", pw.TextField(default="person")),
        migrator.add_column("stage_lock", "locked_by_id", pw.TextField(null=True)),
        migrator.add_column("stage_lock", "code", pw.TextField(default="other")),
        migrator.add_column("stage_lock", "reasons", pw.JSONField(null=True)),
        migrator.add_column("schedule", "last_failure_code", pw.TextField(null=True)),
        migrator.add_column("schedule", "last_failure_params", pw.JSONField(null=True)),
        migrator.add_column("webhook_delivery", "detail_code", pw.TextField(default="forgotten")),
        migrator.add_column("webhook_delivery", "detail_params", pw.JSONField(null=True)),
        migrator.rename_column("run", "allows_frozen", "allows_paused_expiry"),
        migrator.rename_column("run", "told_bytes", "received_bytes"),
    )
    for table, column, empty in EMPTY:
        db.execute_sql(f"UPDATE {table} SET {column} = '{empty}'")
        migrator.migrate(migrator.add_not_null(table, column))
    tables = Tables(db)
    known = Known(db)
    for row in tables.all(tables.Run):
        convert_run(tables, row, known)
    for row in tables.all(tables.RunHost):
        convert_host(tables, row)
    for row in tables.all(tables.StageLock):
        convert_lock(tables, row, known)
    for row in tables.all(tables.Schedule):
        convert_schedule(tables, row)
    for row in tables.all(tables.WebhookDelivery):
        convert_delivery(tables, row)
    db.execute_sql("UPDATE run SET origin = 'external' WHERE origin = 'laptop'")
    migrator.migrate(
        migrator.drop_column("run", "error"),
        migrator.drop_column("run_host", "message"),
        migrator.drop_column("stage_lock", "reason"),
        migrator.drop_column("schedule", "last_error"),
        migrator.drop_column("webhook_delivery", "detail"),
    )


class Tables:
    """The columns that change."""

    def __init__(self, db):
        class Table(pw.Model):
            class Meta:
                database = db
                legacy_table_names = False

        class Run(Table):
            kind = pw.TextField()
            error = pw.TextField(null=True)
            status = pw.TextField()
            rolls_back = pw.IntegerField(null=True)
            comment = pw.TextField()
            created_by = pw.TextField()
            created_by_kind = pw.TextField()
            created_by_id = pw.TextField(null=True)
            cancel_requested_by = pw.TextField(null=True)
            cancel_requested_by_kind = pw.TextField(null=True)
            cancel_requested_by_id = pw.TextField(null=True)
            end_code = pw.TextField(null=True)
            end_reasons = pw.JSONField()
            snapshot = pw.JSONField(null=True)

        class RunHost(Table):
            run_id = pw.IntegerField()
            name = pw.TextField()
            status = pw.TextField()
            message = pw.TextField(null=True)
            message_code = pw.TextField(null=True)
            message_params = pw.JSONField(null=True)

        class StageLock(Table):
            stage_id = pw.IntegerField()
            holder = pw.TextField()
            run_id = pw.IntegerField(null=True)
            locked_at = pw.BigIntegerField()
            locked_by = pw.TextField()
            locked_by_kind = pw.TextField()
            locked_by_id = pw.TextField(null=True)
            reason = pw.TextField()
            code = pw.TextField()
            reasons = pw.JSONField()

        class Schedule(Table):
            last_error = pw.TextField(null=True)
            last_failure_code = pw.TextField(null=True)
            last_failure_params = pw.JSONField(null=True)

        class WebhookDelivery(Table):
            outcome = pw.TextField()
            detail = pw.TextField()
            detail_code = pw.TextField()
            detail_params = pw.JSONField()

        self.Run, self.RunHost, self.StageLock = Run, RunHost, StageLock
        self.Schedule, self.WebhookDelivery = Schedule, WebhookDelivery

    @staticmethod
    def all(model):
        """Every row, some at a time: a batch is read whole before anything of it is written."""
        last = 0
        while batch := list(model.select().where(model.id > last).order_by(model.id).limit(_BATCH)):
            yield from batch
            last = batch[-1].id

    @staticmethod
    def write(row, **fields):
        if fields:
            type(row).update(**fields).where(type(row).id == row.id).execute()


# who


_BY_NAME = (("token:", "token"), ("schedule:", "schedule"), ("webhook:", "webhook"))
_STARTS = ("run.deploy", "run.rollback", "run.converge", "run.playbook", "run.recorded")


class Known:
    """Who did what, by the events of it; what has been forgotten, by the name."""

    def __init__(self, db):
        def pairs(sql):
            return {row[0]: str(row[1]) for row in db.execute_sql(sql).fetchall()}

        self.users = pairs('SELECT name, id FROM "user"')
        self.tokens = pairs("SELECT name, id FROM api_token ORDER BY created_at")
        self.schedules = {
            (row[0], row[1]): str(row[2])
            for row in db.execute_sql("SELECT stage_id, name, id FROM schedule").fetchall()
        }
        self.starts, self.cancels, self.locks = {}, {}, {}
        rows = db.execute_sql(
            "SELECT name, target_id, stage_id, details, actor_kind, actor_id, actor_name, at FROM event "
            "WHERE (name >= 'run.' AND name < 'run/') OR name = 'stage.lock' ORDER BY id"
        ).fetchall()
        for name, target_id, stage_id, details, kind, id_, actor, at in rows:
            told = json.loads(details) if isinstance(details, str) else details
            who = (actor, kind, id_)
            if name == "run.cancel":
                self.cancels.setdefault(str(target_id), []).append(who)
            elif name == "stage.lock":
                self.locks[stage_id, at] = who
            elif name in _STARTS:
                self.starts[str(told.get("run"))] = who

    def of(self, name, found, *, is_own=False):
        """The kind and id of an actor. `found`: (name, kind, id) of an event of it; `is_own`: only the service itself
        does this.
        """
        if found is not None and found[0] == name:
            return found[1], found[2]
        for prefix, kind in _BY_NAME:
            if name.startswith(prefix):
                own = name.removeprefix(prefix)
                return kind, self.tokens.get(own) if kind == "token" else own
        if name == "callboard" and (is_own or name not in self.users):
            return "service", None
        if name == "scaling" and (is_own or name not in self.users):
            return "scaling", None
        return "person", self.users.get(name)


# runs


def _names(text):
    """hosts and more of `a, b and 3 more`."""
    found = re.fullmatch(r"(.*?)(?: and (\d+) more)?", text, re.DOTALL)
    return {"hosts": found[1].split(", "), "more": int(found[2] or 0)}


def _tasks(p):
    found = re.fullmatch(r"(.*?)(?: and (\d+) more)?", p["tasks"], re.DOTALL)
    pairs = re.findall(r"(\S+) \((.*?)\)(?:, (?=\S+ \()|\Z)", found[1], re.DOTALL)
    return {"tasks": [[host, "" if task == "a task" else task] for host, task in pairs], "more": int(found[2] or 0)}


def _results(p):
    found = re.fullmatch(r"(.*?)(?: and (\d+) more)?", p["hosts"], re.DOTALL)
    return {"hosts": [list(pair) for pair in re.findall(r"(\S+) \((\w+)\)", found[1])], "more": int(found[2] or 0)}


def _numbers(*names):
    return lambda p: {**p, **{name: int(p[name]) for name in names}}


def _hosts(p):
    return {"of": int(p["of"]), **_names(p["names"])}


_LIST = r"(?P<names>[^\s:,]+(?:, [^\s:,]+)*(?: and \d+ more)?)"
_LOOK = r"What was under way may have completed; look at the hosts before you go on\."
_MAY = r"the tasks in flight may have completed"
_KEYS = r"Host key mismatch: (?P<names>.+?) did not show an SSH host key that is on record\. .*?do not connect\."
# A free text goes on until one of these, or to the end.
_NOTES = r"(?= (?:Incomplete: |No space left on device: |The run's files could not be written )|\Z)"
_ROLLBACK = (
    (r"There is no release before it to go back to\.", "no_earlier_release", None),
    (
        r"Run (?P<run>\d+) goes back to release (?P<release>\d+) on (?P<count>\d+) of its hosts\.",
        "rolled_back",
        _numbers("run", "release", "count"),
    ),
    (r"It could not be rolled back: (?P<text>.*)", "rollback_refused", None),
)
_ENDS = (
    (r"Canceled by (?P<by>.+?) before it started\.", "canceled_before_start", None),
    (r"Canceled before it started: its stage was archived\.", "stage_archived", None),
    (rf"Canceled by (?P<by>.+?); {_MAY} on their hosts\.", "canceled", None),
    (r"Not run: the stage is frozen, so it is unclear who is live\.", "expiry_paused", None),
    (r"Not run: nobody is behind any more\.", "nobody_out_of_date", None),
    (rf"Interrupted; {_MAY} on their hosts\.", "interrupted", None),
    (rf"Stopped: it took longer than (?P<seconds>\d+) s; {_MAY}\.", "out_of_time", _numbers("seconds")),
    (
        rf"Stopped: it was idle for (?P<seconds>\d+) s, with no event and no output; {_MAY}\.",
        "idle",
        _numbers("seconds"),
    ),
    (rf"Its executor died with a task under way on (?P<tasks>.+?)\. {_LOOK}", "executor_died", _tasks),
    (
        rf"Its executor died; no host had a task under way, as far as is known\. {_LOOK}",
        "executor_died",
        lambda _: {"tasks": [], "more": 0},
    ),
    (rf"Its executor died; nothing is known\. {_LOOK}", "executor_died", lambda _: {"tasks": None, "more": 0}),
    (
        r"The laptop fell silent\. If it kept a spool, `callboard spool send` there tells the rest\.",
        "sender_silent",
        None,
    ),
    (rf"\d+ of (?P<of>\d+) hosts failed: {_LIST}\.(?= |\Z)", "hosts_failed", _hosts),
    (rf"\d+ of (?P<of>\d+) hosts (?:was|were) unreachable: {_LIST}\.(?= |\Z)", "hosts_unreachable", _hosts),
    (_KEYS, "host_keys_mismatch", lambda p: _names(p["names"])),
    (
        r"ansible-playbook ended with code (?P<return_code>-?\d+); the log says why\.",
        "ansible_failed",
        lambda p: {"return_code": int(p["return_code"]), "text": ""},
    ),
    (
        rf"ansible-playbook ended with code (?P<return_code>-?\d+): (?P<text>.*?){_NOTES}",
        "ansible_failed",
        _numbers("return_code"),
    ),
    (
        r"No hosts left: (?P<count>\d+) of (?P<of>\d+) fell silent before their turn\.",
        "no_hosts_left",
        _numbers("count", "of"),
    ),
    (
        r"No hosts matched: the playbook's plays touched none of the run's hosts\..*?goes there with delegate_to\.",
        "nobody_touched",
        None,
    ),
    (r"No hosts matched: (?P<stage>\S+) has no live host for this run\.", "no_live_host", None),
    (
        r"No hosts matched: none of the repeated run's hosts is there now: (?P<hosts>.*?)\.(?= |\Z)",
        "nobody_there",
        _results,
    ),
    (
        (
            r"Stopped: (?P<count>\d+) of the run's (?P<of>\d+) hosts are unreachable, .*? "
            r"of (?P<bound>\S+) allows (?P<most>\d+)\."
        ),
        "too_many_unreachable",
        _numbers("count", "of", "most"),
    ),
    (
        (
            r"Stopped: (?P<count>\d+) of the (?P<of>\d+) hosts that were live at the start are left healthy, and the "
            r"stage's minimum_healthy of (?P<bound>\S+) asks for (?P<least>\d+)\."
        ),
        "too_few_healthy",
        _numbers("count", "of", "least"),
    ),
    (rf"Callboard itself failed: (?P<text>.*?)\.{_NOTES}", "service_failed", None),
    (r"Incomplete: the log could not be written \((?P<text>.*?)\)\.", "log_incomplete", None),
    (r"Incomplete: events could not be stored \((?P<text>.*?)\)\.(?= |\Z)", "events_incomplete", None),
    (r"No space left on device: the disk of (?P<folder>.+?) is full\.", "disk_full", None),
    (r"The run's files could not be written \((?P<text>.*?)\); free some space\.", "files_unwritable", None),
)
_SAID = r"(?P<host>[A-Za-z0-9_][A-Za-z0-9_.:-]*): (?P<text>.*)"
_AFTER_HOSTS = ("hosts_failed", "hosts_unreachable", "host_keys_mismatch", "log_incomplete", "events_incomplete")


def reasons_of(text, status):
    """[{code, …}] of a run's error."""
    text, locked = _without(text, r"The stage is locked\.", "stage_locked", None)
    tail = [locked] if locked else []
    for pattern, code, make in _ROLLBACK if locked or status is None else ():
        text, found = _without(text, pattern, code, make)
        if found:
            tail.insert(0, found)
            break
    return [*_from_left(text, status), *tail]


def _without(text, pattern, code, make):
    found = re.search(rf"(?:^| ){pattern}\Z", text, re.DOTALL)
    return (text[: found.start()], _made(found, code, make)) if found else (text, None)


def _made(found, code, make):
    params = found.groupdict()
    return {"code": code, **(make(params) if make else params)}


def _from_left(text, status):
    made = []
    while text:
        for pattern, code, make in _ENDS:
            found = re.match(pattern, text, re.DOTALL)
            if found:
                made.append(_made(found, code, make))
                text = text[found.end() :].lstrip(" ")
                break
        else:
            said = re.fullmatch(_SAID, text, re.DOTALL) if made and made[-1]["code"] in _AFTER_HOSTS else None
            if said:
                return [*made, {"code": "host_said", **said.groupdict()}]
            return [*made, {"code": "not_prepared" if status == "failed" and not made else "other", "text": text}]
    return made


_SNAPSHOT_NOTES = (
    (r"(?P<host>\S+), on which run (?P<run>\d+) worked, is not live now\.", "not_live", _numbers("run")),
    (
        r"(?P<host>\S+) has other SSH host keys than in run (?P<run>\d+); those of now are used\.",
        "other_host_keys",
        _numbers("run"),
    ),
    (
        r"(?P<host>\S+) had the address (?P<a>\S+) port (?P<p>\d+); now (?P<b>\S+) port (?P<q>\d+) is used\.",
        "other_address",
        lambda p: {"host": p["host"], "before": [p["a"], int(p["p"])], "now": [p["b"], int(p["q"])]},
    ),
    (
        r"(?P<tool>\S+) was (?P<before>.+?) in run (?P<run>\d+) and is (?P<now>.+) now\.",
        "other_tool",
        lambda p: {
            "tool": p["tool"],
            "run": int(p["run"]),
            **{name: None if p[name] == "not there" else p[name] for name in ("before", "now")},
        },
    ),
    (r"The secret (?P<secret>\S+) was set since run (?P<run>\d+)\.", "secret_set", _numbers("run")),
    (r"The secret (?P<secret>\S+) was removed since run (?P<run>\d+)\.", "secret_removed", _numbers("run")),
)


def _whole(table, text):
    for pattern, code, make in table:
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found:
            return _made(found, code, make)
    return {"code": "other", "text": text}


def _missing(one):
    made = host_note(one.get("status"), one.get("reason") or "")
    code = made.pop("code")
    return {"host": one["host"], "status": one["status"], "code": code, "params": made}


def convert_run(tables, row, known):
    fields = {}
    is_own = row.kind == "converge" or row.rolls_back is not None or row.comment.startswith("drain before ")
    kind, id_ = known.of(row.created_by, known.starts.get(str(row.id)), is_own=is_own)
    fields |= {"created_by_kind": kind, "created_by_id": id_}
    if row.cancel_requested_by is not None:
        found = next((who for who in known.cancels.get(str(row.id), ()) if who[0] == row.cancel_requested_by), None)
        kind, id_ = known.of(row.cancel_requested_by, found, is_own=True)
        fields |= {"cancel_requested_by_kind": kind, "cancel_requested_by_id": id_}
    if row.error:
        reasons = reasons_of(row.error, row.status)
        fields |= {"end_code": reasons[0]["code"], "end_reasons": reasons}
    frozen = row.snapshot
    if frozen and (frozen.get("notes") or frozen.get("missing")):
        notes = [_whole(_SNAPSHOT_NOTES, note) for note in frozen.get("notes", [])]
        missing = [_missing(one) for one in frozen.get("missing", [])]
        fields["snapshot"] = {**frozen, "notes": notes, "missing": missing}
    if frozen and "laptop" in frozen:
        changed = fields.get("snapshot", frozen)
        fields["snapshot"] = {
            **{key: value for key, value in changed.items() if key != "laptop"},
            "sender": changed["laptop"],
        }
    tables.write(row, **fields)


# hosts of runs

_HOST_NOTES = (
    (r"Left out: it has left the stage\.", "left_stage", None),
    (r"Left out: it has been silent since (?P<since>\S+?)\.", "silent", None),
    (
        r"The task (?P<task>.*) was under way when the run ended; it may have completed\.",
        "under_way",
        lambda p: {"task": _unquoted(p["task"])},
    ),
    (_KEYS, "host_key_mismatch", lambda p: {"host": p["names"]}),
)


def _unquoted(text):

    try:
        task = str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        task = text
    return "" if task == "?" else task


def host_note(status, text):
    """{code, …} of what was said of one host."""
    if status == "gone":
        named = {"no longer known": "unknown", "its machine is to be ended": "to_be_ended"}
        if text in named:
            return {"code": named[text]}
        is_silent = text in ("", "silent for too long")
        return {"code": "gone", "why": None if is_silent else {"code": "other", "text": text}}
    if status == "conflict":
        return {"code": "in_conflict", "why": {"code": "other", "text": text}}
    if status == "stale":
        return {"code": "stale"}
    return _whole(_HOST_NOTES, text)


def convert_host(tables, row):
    fields = {"status": "left_out"} if row.status == "skipped (stale)" else {}
    if row.message:
        made = host_note(row.status, row.message)
        fields |= {"message_code": made.pop("code"), "message_params": made}
    tables.write(row, **fields)


# locks

_STOPPED = r"The rollout of release (?P<release>\d+) stopped \(run (?P<run>\d+)\): (?P<rest>.*)"
_FAILED = r"The automatic rollback of run (?P<run>\d+), run (?P<rollback>\d+), did not succeed: (?P<rest>.*)"
_STATUSES = ("failed", "canceled", "timeout", "lost")


def lock_reasons(text):
    """[{code, …}] of a lock's reason: what a person typed, and what the service put after it."""
    marks = [
        found.start()
        for found in re.finditer(r"The rollout of release \d+ stopped|The automatic rollback of run", text)
    ]
    parts = [text[begin:end].strip() for begin, end in zip([0, *marks], [*marks, len(text)], strict=True)]
    return [_lock_reason(part) for part in parts if part]


def _lock_reason(text):
    found = re.fullmatch(_STOPPED, text, re.DOTALL)
    if found:
        rest = {"reasons": reasons_of(f"{found['rest'].removesuffix('.')}.", None)}
        return {"code": "rollout_stopped", "release": int(found["release"]), "run": int(found["run"]), **rest}
    found = re.fullmatch(_FAILED, text, re.DOTALL)
    if found:
        is_status = found["rest"] in _STATUSES
        rest = {
            "status": found["rest"] if is_status else "failed",
            "reasons": [] if is_status else reasons_of(f"{found['rest'].removesuffix('.')}.", "failed"),
        }
        return {"code": "rollback_failed", "run": int(found["run"]), "rollback": int(found["rollback"]), **rest}
    return {"code": "person", "text": text}


def convert_lock(tables, row, known):
    if row.holder == "run":
        reasons = [{"code": "run", "run": row.run_id}]
        who = known.of(row.locked_by, known.starts.get(str(row.run_id)), is_own=True)
    else:
        reasons = lock_reasons(row.reason)
        is_own = reasons[0]["code"] != "person"
        who = known.of(row.locked_by, known.locks.get((row.stage_id, row.locked_at)), is_own=is_own)
    tables.write(row, code=reasons[0]["code"], reasons=reasons, locked_by_kind=who[0], locked_by_id=who[1])


# automation

_FAILURES = (
    (r"No worker was there at (?P<moment>\S+ \S+) UTC; that run was left out\.", "no_worker", None),
    (
        r"Run (?P<run>\d+) of the time before is still (?P<status>\w+); this one was left out\.",
        "still_active",
        _numbers("run"),
    ),
    (r"(?P<text>.*)", "refused", None),
)
_DELIVERIES = (
    (r"Only pushes of branches and tags deploy\.", "no_push", None),
    (r"(?P<ref>\S+) was deleted\.", "ref_deleted", None),
    (
        r"(?P<ref>\S+) is none of (?P<refs>\S+(?:, \S+)*?)\.",
        "other_ref",
        lambda p: {"ref": p["ref"], "refs": p["refs"].split(", ")},
    ),
    (r"Run (?P<run>\d+) deploys (?P<revision>\w+)\.", "deploys", _numbers("run")),
    (r"Not carried out\.", "unfinished", None),
    (r"", "forgotten", None),
)


def convert_schedule(tables, row):
    if row.last_error:
        made = _whole(_FAILURES, row.last_error)
        tables.write(row, last_failure_code=made.pop("code"), last_failure_params=made)


def convert_delivery(tables, row):
    made = _whole(_DELIVERIES, row.detail)
    if row.outcome == "refused" and made["code"] == "other":
        made["code"] = "refused"
    tables.write(row, detail_code=made.pop("code"), detail_params=made)
