"""Scaling of stages and its decisions."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Stage(Table):
        pass

    class StageScaling(Table):
        stage = pw.ForeignKeyField(Stage, unique=True)
        limits = pw.JSONField()
        policies = pw.JSONField()
        actuator = pw.JSONField(null=True)
        drain_playbook = pw.TextField(null=True)
        is_enabled = pw.BooleanField(default=False)
        is_dry_run = pw.BooleanField(default=False)
        updated_by = pw.TextField()
        updated_at = pw.BigIntegerField()
        last_out_at = pw.BigIntegerField(null=True)
        last_in_at = pw.BigIntegerField(null=True)
        problem = pw.TextField(null=True)
        problem_at = pw.BigIntegerField(null=True)
        findings = pw.JSONField(default=list)

    class ScalingDecision(Table):
        stage = pw.ForeignKeyField(Stage, index=False)
        at = pw.BigIntegerField()
        action = pw.TextField()
        from_capacity = pw.IntegerField()
        to_capacity = pw.IntegerField()
        serving = pw.IntegerField()
        reasons = pw.JSONField()
        readings = pw.JSONField()
        status = pw.TextField()
        token = pw.TextField()
        instances = pw.JSONField(default=list)
        run_id = pw.IntegerField(null=True)
        error = pw.TextField(null=True)
        ended_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("stage", "at"), False),)

    db.create_tables([StageScaling, ScalingDecision])
