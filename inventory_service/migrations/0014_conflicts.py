"""When hosts were in conflict, for questions about the past; those that are now began unknown times ago."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Stage(Table):
        pass

    class Host(Table):
        id = pw.TextField(primary_key=True)

    class Conflict(Table):
        host = pw.ForeignKeyField(Host)
        stage = pw.ForeignKeyField(Stage, index=False)
        since = pw.BigIntegerField()
        until = pw.BigIntegerField(null=True)
        reason = pw.TextField()

        class Meta:
            indexes = ((("stage", "since"), False),)

    db.create_tables([Conflict])
    db.execute_sql(
        'INSERT INTO "conflict" (host_id, stage_id, since, reason) '
        "SELECT id, stage_id, last_seen_at, conflict FROM host WHERE conflict IS NOT NULL AND gone_at IS NULL"
    )
