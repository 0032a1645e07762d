"""Why a host is as it is, and why expiry is paused, become codes with parameters; before, they were the sentences that
people read. What was called a freeze of expiry is called a pause.
"""

import ast
import json
import re

import peewee as pw

_EC2 = r"EC2 says that (?P<instance>\S+) is (?P<state>\w+)"
_BY = r"(?P<by>.*)"
GONE = (
    ("said goodbye", "goodbye"),
    ("silent", "silent"),
    ("replaced by a new machine of that name", "replaced"),
    (f"removed by {_BY}", "removed"),
    (_EC2, "ec2_ended"),
    (r"scaled in \(decision (?P<decision>[0-9]+)\)", "scaled_in"),
    (r"(?P<group>.+) ends (?P<instance>i-\w+)", "group_ends"),
)
CONFLICT = (
    (
        r"the same address as the live host (?P<other>'.*'|\".*\"): (?P<address>\S+) port (?P<port>[0-9]+)",
        "same_address",
    ),
    (r"two machines beat with this host's token \(a cloned image\?\); enrol each of them anew", "cloned"),
    (f"{_EC2}, but it beats", "ended_but_beats"),
)
MISMATCH = (
    (r"run (?P<run>[0-9]+) met a machine without a host key of record", "run"),
    (r"a machine at (?P<peer>\S+) asked to enrol under its name with other keys", "enrolment"),
)
CAUSE = (
    ("enrolled", "enrolled"),
    ("enrolled, as the instance that was expected", "enrolled_expected"),
    ("enrolled again", "enrolled_again"),
    ("heartbeat", "heartbeat"),
    ("renewed", "renewed"),
    (f"added by {_BY}", "added"),
    (f"approved by {_BY}", "approved"),
    ("silent", "silent"),
    (f"expired by {_BY}", "expired"),
)
_GAVE_UP = (
    r"Convergence gave up: (?P<attempts>[0-9]+) attempts to bring it to release (?P<release>[0-9]+) failed; "
    r"see run (?P<run>[0-9]+)(?:: (?P<words>.*))?"
)
CONVERGENCE = ((_GAVE_UP, "convergence"),)
PAUSE = (
    (r"(?P<silent>[0-9]+) of (?P<of>[0-9]+) hosts fell silent within one ttl", "many_silent"),
    (r"the service has not heard its own heartbeat for (?P<seconds>[0-9]+) s", "deaf"),
)
_NUMBERS = ("silent", "of", "seconds", "decision", "port", "run", "attempts", "release")


def parse(rules, text):
    """(code, parameters) of a sentence."""
    for pattern, code in rules:
        found = re.fullmatch(pattern, text, re.DOTALL)
        if found is not None:
            return code, {name: _value(name, value) for name, value in found.groupdict().items()}
    return "other", {"text": text}


def _value(name, value):
    if name == "other":
        return ast.literal_eval(value)
    return int(value) if name in _NUMBERS else value


def up(migrator, db):
    text, params = pw.TextField(null=True), pw.JSONField(null=True)
    names = ("gone", "quarantine", "conflict", "key_mismatch")
    migrator.migrate(
        *(migrator.add_column("host", f"{name}_code", text) for name in names),
        *(migrator.add_column("host", f"{name}_params", params) for name in names),
        *(migrator.add_column(table, "reason_code", text) for table in ("transition", "conflict")),
        *(migrator.add_column(table, "reason_params", params) for table in ("transition", "conflict")),
        migrator.rename_column("host", "held_release_number", "pinned_release_number"),
        migrator.rename_column("stage", "frozen_at", "expiry_paused_at"),
        migrator.rename_column("stage", "freeze_calm", "expiry_pause_calm_sweeps"),
        migrator.rename_column("stage", "freeze_not_before", "expiry_pause_not_before"),
        migrator.add_column("stage", "expiry_pause_code", text),
        migrator.add_column("stage", "expiry_pause_params", params),
    )
    convert = Conversion(db)
    convert.column("host", "gone_reason", "gone", GONE)
    convert.column("host", "conflict", "conflict", CONFLICT)
    convert.column("host", "host_key_mismatch", "key_mismatch", MISMATCH)
    convert.column("transition", "reason", "reason", GONE, "to_state = 'gone'")
    convert.column("transition", "reason", "reason", CAUSE, "to_state <> 'gone'")
    convert.column("conflict", "reason", "reason", CONFLICT)
    convert.column("stage", "freeze_reason", "expiry_pause", PAUSE)
    convert.pause_of_all()
    convert.notifications()
    convert.quarantines()
    convert.events()
    migrator.migrate(
        *(migrator.drop_column("host", name) for name in ("gone_reason", "conflict", "host_key_mismatch")),
        *(migrator.drop_column("host", name) for name in ("is_quarantined", "quarantine_reason")),
        migrator.drop_column("stage", "freeze_reason"),
        *(migrator.drop_column(table, "reason") for table in ("transition", "conflict")),
        *(migrator.add_not_null(table, "reason_code") for table in ("transition", "conflict")),
        *(migrator.add_not_null(table, "reason_params") for table in ("transition", "conflict")),
    )


class Conversion:
    """Rewrites rows of one database."""

    def __init__(self, db):
        self._db, self._param = db, db.param

    def _fetch(self, sql, *values):
        return self._db.execute_sql(sql.replace("?", self._param), values).fetchall()

    def _write(self, sql, *values):
        self._db.execute_sql(sql.replace("?", self._param), values)

    def column(self, table, old, new, rules, where="1 = 1"):
        """Sentences without parameters, which most are, all at once; the others row by row."""
        update = f"UPDATE {self._quoted(table)} SET {new}_code = ?, {new}_params = ? WHERE"
        known = [(pattern, code) for pattern, code in rules if "(" not in pattern]
        for sentence, code in known:
            self._write(f"{update} {old} = ? AND {where}", code, "{}", sentence)
        marks = ", ".join("?" * len(known)) or "''"
        rest = f"{old} IS NOT NULL AND {old} <> '' AND {old} NOT IN ({marks}) AND {where}"
        query = f"SELECT id, {old} FROM {self._quoted(table)} WHERE {rest}"
        for id_, sentence in self._fetch(query, *(sentence for sentence, _ in known)):
            code, params = parse(rules, sentence)
            self._write(f"{update} id = ?", code, json.dumps(params), id_)

    def _quoted(self, table):
        return f'"{table}"'

    def quarantines(self):
        """Who excluded a host is what the last event about it says, whatever the reason looks like."""
        is_true = "is_quarantined" if isinstance(self._db, pw.PostgresqlDatabase) else "is_quarantined = 1"
        for host_id, sentence in self._fetch(f"SELECT id, quarantine_reason FROM host WHERE {is_true}"):
            by_service, actor = self._last_word(host_id, sentence or "")
            code, params = parse(CONVERGENCE, sentence or "")
            if not by_service:
                code, params = "person", {"by": actor, "text": sentence or ""}
            elif code == "other":
                code = "convergence"
            update = "UPDATE host SET quarantine_code = ?, quarantine_params = ? WHERE id = ?"
            self._write(update, code, json.dumps(params), host_id)

    def _last_word(self, host_id, sentence):
        """(whether it was the service's, the actor's name)."""
        rows = self._fetch(
            "SELECT name, actor_kind, actor_name, details FROM event WHERE target_kind = 'host' AND target_id = ? "
            "AND name IN ('host.update', 'host.quarantine') ORDER BY id DESC",
            host_id,
        )
        for name, kind, actor, details in rows:
            if name == "host.quarantine" or "is_quarantined" in (_json(details).get("fields") or []):
                return kind == "service", actor
        # Its event is forgotten: the sentence has to be the service's, and about a run that it made.
        code, params = parse(CONVERGENCE, sentence)
        if code != "convergence":
            return False, None
        query = "SELECT id FROM run WHERE id = ? AND kind = 'converge' AND created_by = 'callboard'"
        return bool(self._fetch(query, params["run"])), None

    def pause_of_all(self):
        """What the service remembers about itself, under its present names."""
        renamed = {"thaw_from": "expiry_resumed_at", "freeze_limit": "expiry_pause_limit", "freeze": "expiry_pause"}
        for old, new in renamed.items():
            self._write("UPDATE service_state SET key = ? WHERE key = ?", new, old)
        for (stored,) in self._fetch("SELECT value FROM service_state WHERE key = 'expiry_pause'"):
            value = _json(stored)
            code, params = parse(PAUSE, value["reason"]) if value["reason"] else (None, {})
            moments = {"paused_at": value["frozen_at"], "not_before": value["not_before"]}
            now = {**moments, "code": code, "params": params, "calm_sweeps": value["calm"]}
            self._write("UPDATE service_state SET value = ? WHERE key = 'expiry_pause'", json.dumps(now))

    def notifications(self):
        for id_, stored in self._fetch("SELECT id, events FROM notification"):
            events = _json(stored)
            if "freeze" in events:
                now = sorted("expiry" if event == "freeze" else event for event in events)
                self._write("UPDATE notification SET events = ? WHERE id = ?", json.dumps(now), id_)
        self._write("UPDATE notice SET event = 'expiry' WHERE event = 'freeze'")

    def events(self):
        names = "'host.conflict', 'host.quarantine', 'expiry.pause'"
        query = f"SELECT id, name, details FROM event WHERE name IN ({names})"
        for id_, name, stored in self._fetch(query):
            details = _json(stored)
            sentence = details.pop("reason", None)
            if not sentence:
                continue
            now, (code, params) = self._event(name, sentence)
            update = "UPDATE event SET name = ?, reason_code = ?, details = ? WHERE id = ?"
            self._write(update, now, code, json.dumps({**params, **details}), id_)

    @staticmethod
    def _event(name, sentence):
        """(today's name, (code, parameters))."""
        if name == "host.quarantine":
            code, params = parse(CONVERGENCE, sentence)
            return name, ("convergence" if code == "other" else code, params)
        if name == "expiry.pause":
            return name, parse(PAUSE, sentence)
        mismatch = parse(MISMATCH, sentence)
        if mismatch[0] != "other":
            return "host.key_mismatch", mismatch
        return name, parse(CONFLICT, sentence)


def _json(stored):
    return json.loads(stored) if isinstance(stored, str) else stored
