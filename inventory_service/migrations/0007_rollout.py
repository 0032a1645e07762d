"""What a gated rollout needs: hosts' health, the stage's batches and automatic rollback, what a rollback undoes."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("host", "is_healthy", pw.BooleanField(null=True)),
        migrator.add_column("host", "health_reason", pw.TextField(null=True)),
        migrator.add_column("stage", "batches", pw.JSONField(null=True)),
        migrator.add_column("stage", "has_auto_rollback", pw.BooleanField(default=False)),
        migrator.add_column("run", "rolls_back", pw.IntegerField(null=True)),
    )
