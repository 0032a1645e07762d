"""Answers that a webhook's deploys give to prompts; how much of its log a laptop has sent, which is kept masked."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("webhook", "extra_vars", pw.JSONField(null=True)),
        migrator.add_column("run", "told_bytes", pw.BigIntegerField(default=0)),
    )
    db.execute_sql("UPDATE run SET told_bytes = log_bytes WHERE origin = 'laptop'")
