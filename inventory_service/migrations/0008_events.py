"""Copies of logs in the database, runs recorded elsewhere, what retention removed, and a stage's strategy."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Run(Table):
        pass

    class RunLogChunk(Table):
        run = pw.ForeignKeyField(Run, on_delete="CASCADE", index=False)
        start = pw.BigIntegerField()
        data = pw.BlobField()

        class Meta:
            primary_key = pw.CompositeKey("run", "start")

    db.create_tables([RunLogChunk])
    migrator.migrate(
        migrator.add_column("run", "origin", pw.TextField(default="service")),
        migrator.add_column("run", "events_removed_at", pw.BigIntegerField(null=True)),
        migrator.add_column("stage", "strategy", pw.TextField(default="linear")),
        migrator.drop_index("run_event", "run_event_run_id"),  # the primary key begins with the same column
    )
