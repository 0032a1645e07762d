"""What a run froze: its inventory in a table of its own, its commit beside it, its hosts' ports and keys."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Run(Table):
        snapshot = pw.JSONField(null=True)
        source_commit = pw.TextField(null=True)

    class RunInventory(Table):
        run = pw.ForeignKeyField(Run, primary_key=True, on_delete="CASCADE")
        content = pw.BlobField()

    db.create_tables([RunInventory])
    migrator.migrate(
        migrator.add_column("run", "source_commit", pw.TextField(null=True)),
        migrator.add_column("run", "repeat_mode", pw.TextField(null=True)),
        migrator.add_column("run_host", "port", pw.IntegerField(null=True)),
        migrator.add_column("run_host", "keys_sha256", pw.TextField(null=True)),
    )
    for run in Run.select().where(Run.snapshot.is_null(False)):
        Run.update(source_commit=run.snapshot.get("commit")).where(Run.id == run.id).execute()
