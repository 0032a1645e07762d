"""Budgets and time limits of a stage; a run's attempt, tasks in flight, whole request and overridden lock."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("stage", "minimum_healthy", pw.TextField(default="")),
        migrator.add_column("stage", "maximum_unreachable", pw.TextField(default="")),
        migrator.add_column("stage", "run_timeout_seconds", pw.IntegerField(default=0)),
        migrator.add_column("stage", "idle_timeout_seconds", pw.IntegerField(default=0)),
        migrator.add_column("run", "attempt", pw.IntegerField(default=0)),
        migrator.add_column("run", "in_flight", pw.JSONField(null=True)),
        migrator.add_column("run", "idempotency_hash", pw.TextField(null=True)),
        migrator.add_column("run", "override_lock", pw.TextField(null=True)),
    )
