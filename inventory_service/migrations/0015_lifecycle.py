"""Lifecycle actions of Auto Scaling groups; hosts on their way out; groups from EC2's tags; expected instances."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Stage(Table):
        pass

    class LifecycleAction(Table):
        stage = pw.ForeignKeyField(Stage, index=False)
        instance = pw.TextField()
        transition = pw.TextField()
        hook = pw.TextField()
        token = pw.TextField(null=True)
        status = pw.TextField()
        reason = pw.TextField(null=True)
        run_id = pw.IntegerField(null=True)
        at = pw.BigIntegerField()
        heartbeat_at = pw.BigIntegerField(null=True)
        ended_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("stage", "at"), False),)

    LifecycleAction.add_index(
        LifecycleAction.index(
            LifecycleAction.stage,
            LifecycleAction.instance,
            LifecycleAction.transition,
            unique=True,
            name="lifecycle_action_open",
        ).where(LifecycleAction.ended_at.is_null())
    )
    db.create_tables([LifecycleAction])
    migrator.migrate(
        migrator.add_column("host", "leaving_at", pw.BigIntegerField(null=True)),
        migrator.add_column("host", "tag_groups", pw.JSONField(null=True)),
        migrator.add_column("stage_scaling", "hook_problem", pw.TextField(null=True)),
        migrator.add_column("stage_scaling", "expected", pw.JSONField(null=True)),
        migrator.add_column("stage_scaling", "looked_at", pw.BigIntegerField(null=True)),
    )
