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
            **known.actor(actor, peer),
            **known.target(action, target, told),
        ).execute()
    if rows and isinstance(db, pw.PostgresqlDatabase):
        db.execute_sql("SELECT setval(pg_get_serial_sequence('event', 'id'), (SELECT MAX(id) FROM event))")
    db.drop_tables([type("AuditEntry", (Table,), {})])


class Known:
    """The ids behind the names of the present; what has been forgotten has a name only."""

    def __init__(self, db):
        def pairs(sql):
            return {row[0]: row[1] for row in db.execute_sql(sql).fetchall()}

        self.users = (
            pairs("SELECT name, id FROM user") if not _is_postgresql(db) else pairs('SELECT name, id FROM "user"')
        )
        self.tokens = pairs("SELECT name, id FROM api_token ORDER BY created_at")
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
        self.by_path = {f"{path}/{name}": id_ for id_, (name, _, path) in self.hosts.items()}
        self.runs = pairs("SELECT id, stage_id FROM run")

    def actor(self, name, peer):
        for pattern, kind in KINDS:
            found = pattern.fullmatch(name)
            if found:
                own = self.tokens.get(found["id"]) if kind == "token" else found["id"]
                return {"actor_kind": kind, "actor_id": own}
        if name in ONLY_INSIDE and peer is None:  # a person with that name has an address
            return {"actor_kind": ONLY_INSIDE[name], "actor_id": None}
        if name == "enrolment" and peer is not None and name not in self.users:
            return {"actor_kind": "machine", "actor_id": None}
        return {"actor_kind": "person", "actor_id": self._text(self.users.get(name))}

    def target(self, action, target, details):  # noqa: PLR0911 - a table of cases
        noun = action.partition(".")[0]
        if target == "all stages":
            return _target("service", None, target, None)
        if action == "host.refuse":
            path = details.get("stage")
            return _target("host", None, f"{path}/{target}" if path else target, self.stages.get(path))
        if noun == "host":
            return self._host(target, details)
        if noun == "run" and target.startswith("run "):
            number = target[4:]
            return _target("run", number, target, self.runs.get(int(number)) if number.isdecimal() else None)
        if noun in ("user", "token"):
            own = details.get("id") if noun == "token" else self._text(self.users.get(target))
            return _target(noun, own, target, None)
        if "/" in target:
            return _target("stage", self._text(self.stages.get(target)), target, self.stages.get(target))
        return _target("project", self._text(self.projects.get(target)), target, None)

    def _host(self, target, details):
        own = details.get("id") or self.by_path.get(target)
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
