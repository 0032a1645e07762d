"""The last run that reached a host, by its own word."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(migrator.add_column("host", "acknowledged_run", pw.IntegerField(null=True)))
