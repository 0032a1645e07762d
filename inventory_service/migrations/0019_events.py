"""Audit entries become typed events: who and what are kinds with ids, no longer texts with a grammar."""

import json
import re

import peewee as pw

KINDS = (
    # how an actor's name was written: its kind, whether the rest is an id
    (re.compile(r"token:(?P<id>.*)", re.DOTALL), "token"),
    (re.compile(r"host:(?P<id>.*)", re.DOTALL), "host"),
    (re.compile(r"join token (?P<id>.*)", re.DOTALL), "join_token"),
    (re.compile(r"schedule:(?P<id>.*)", re.DOTALL), "schedule"),
    (re.compile(r"webhook:(?P<id>.*)", re.DOTALL), "webhook"),
)
ONLY_INSIDE = {"callboard": "service", "scaling": "scaling"}
RENAMED = {"freeze.begin": "expiry.pause", "freeze.end": "expiry.resume"}
BY_NAME = ("host.refuse",)


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Event(Table):
        at = pw.BigIntegerField(index=True)
        name = pw.TextField()
        target_kind = pw.TextField()
        target_id = pw.TextField(null=True)
        target_path = pw.TextField()
        stage_id = pw.IntegerField(null=True)
        actor_kind = pw.TextField()
        actor_id = pw.TextField(null=True)
        actor_name = pw.TextField()
        peer = pw.TextField(null=True)
        changes = pw.JSONField()
        reason_code = pw.TextField(null=True)
        details = pw.JSONField()

        class Meta:
            indexes = ((("stage_id", "name", "at"), False), (("target_kind", "target_id"), False))

    db.create_tables([Event])
    known = Known(db)
    query = "SELECT id, at, actor, action, target, details, peer FROM audit_entry ORDER BY id"
    rows = db.execute_sql(query).fetchall()
    for id_, at, actor, action, target, details, peer in rows:
        told = json.loads(details) if isinstance(details, str) else details
        Event.insert(
            id=id_,
            at=at,
            name=RENAMED.get(action, action),
            actor_name=actor,
            peer=peer,
            changes={},
            details=told,
            **known.actor(actor, peer, target, at),
            **known.target(action, target, told, at),
        ).execute()
    if rows and isinstance(db, pw.PostgresqlDatabase):
        db.execute_sql("SELECT setval(pg_get_serial_sequence('event', 'id'), (SELECT MAX(id) FROM event))")
    db.drop_tables([type("AuditEntry", (Table,), {})])


def dated(db, sql):
    """{name: [(since when, id), …]}, oldest first: one name may have belonged to several, one after the other."""
    found = {}
    for name, since, id_ in db.execute_sql(sql).fetchall():
        found.setdefault(name, []).append((since, id_))
    return found


def last(known, name, at):
    """The id of the one that had the name at that moment, None where nobody is known."""
    return next((id_ for since, id_ in reversed(known.get(name, [])) if since <= at), None)


class Known:
    """The ids behind the names of the present; what has been forgotten has a name only."""

    def __init__(self, db):
        def pairs(sql):
            return {row[0]: row[1] for row in db.execute_sql(sql).fetchall()}

        self.users = (
            pairs("SELECT name, id FROM user") if not _is_postgresql(db) else pairs('SELECT name, id FROM "user"')
        )
        self.tokens = dated(db, "SELECT name, created_at, id FROM api_token ORDER BY created_at")
        self.schedules = pairs(
            "SELECT project.name || '/' || stage.name || '/' || schedule.name, schedule.id FROM schedule "
            "JOIN stage ON stage.id = schedule.stage_id JOIN project ON project.id = stage.project_id"
        )
        self.projects = pairs("SELECT name, id FROM project")
        self.stages = pairs(
            "SELECT project.name || '/' || stage.name, stage.id FROM stage "
            "JOIN project ON project.id = stage.project_id"
        )
        self.hosts = {
            row[0]: (row[1], row[2], row[3])
            for row in db.execute_sql(
                "SELECT host.id, host.name, stage.id, project.name || '/' || stage.name FROM host "
                "JOIN stage ON stage.id = host.stage_id JOIN project ON project.id = stage.project_id"
            ).fetchall()
        }
        self.by_path = dated(
            db,
            "SELECT project.name || '/' || stage.name || '/' || host.name, enrolled_at, host.id FROM host "
            "JOIN stage ON stage.id = host.stage_id JOIN project ON project.id = stage.project_id ORDER BY enrolled_at",
        )
        self.runs = pairs("SELECT id, stage_id FROM run")

    def actor(self, name, peer, target, at):
        for pattern, kind in KINDS:
            found = pattern.fullmatch(name)
            if found:
                return {"actor_kind": kind, "actor_id": self._actor_id(kind, found["id"], target, at)}
        if name in ONLY_INSIDE and peer is None:  # a person with that name has an address
            return {"actor_kind": ONLY_INSIDE[name], "actor_id": None}
        if name == "enrolment" and peer is not None and name not in self.users:
            return {"actor_kind": "machine", "actor_id": None}
        return {"actor_kind": "person", "actor_id": self._text(self.users.get(name))}

    def _actor_id(self, kind, told, target, at):
        if kind == "token":
            return last(self.tokens, told, at)
        if kind == "host":  # it acts on itself
            return last(self.by_path, target, at)
        if kind == "schedule":
            return self._text(self.schedules.get(f"{target}/{told}"))
        return told

    def target(self, action, target, details, at):  # noqa: PLR0911 - a table of cases
        noun = action.partition(".")[0]
        if target == "all stages":
            return _target("service", None, target, None)
        if action == "host.refuse":
            path = details.get("stage")
            return _target("host", None, f"{path}/{target}" if path else target, self.stages.get(path))
        if noun == "host":
            return self._host(target, details, at)
        if noun == "run" and target.startswith("run "):
            number = target[4:]
            return _target("run", number, target, self.runs.get(int(number)) if number.isdecimal() else None)
        if noun in ("user", "token"):
            own = details.get("id") if noun == "token" else self._text(self.users.get(target))
            return _target(noun, own, target, None)
        if "/" in target:
            return _target("stage", self._text(self.stages.get(target)), target, self.stages.get(target))
        return _target("project", self._text(self.projects.get(target)), target, None)

    def _host(self, target, details, at):
        own = details.get("id") or last(self.by_path, target, at)
        _, stage_id, path = self.hosts.get(own, (None, None, None))
        if "/" not in target and path is not None:
            target = f"{path}/{target}"
        return _target("host", own, target, stage_id or self.stages.get("/".join(target.split("/")[:2])))

    @staticmethod
    def _text(value):
        return None if value is None else str(value)


def _target(kind, id_, path, stage_id):
    return {"target_kind": kind, "target_id": id_, "target_path": path, "stage_id": stage_id}


def _is_postgresql(db):
    return isinstance(db, pw.PostgresqlDatabase)
