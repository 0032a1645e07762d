"""Schedules, webhooks and notifications."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Stage(Table):
        pass

    class Schedule(Table):
        stage = pw.ForeignKeyField(Stage)
        name = pw.TextField()
        cron = pw.TextField()
        timezone = pw.TextField()
        request = pw.JSONField()
        is_enabled = pw.BooleanField(default=True)
        next_at = pw.BigIntegerField(null=True)
        last_at = pw.BigIntegerField(null=True)
        last_run_id = pw.IntegerField(null=True)
        last_error = pw.TextField(null=True)
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()

        class Meta:
            indexes = ((("stage", "name"), True),)

    class Webhook(Table):
        id = pw.TextField(primary_key=True)
        stage = pw.ForeignKeyField(Stage)
        provider = pw.TextField()
        description = pw.TextField(default="")
        refs = pw.JSONField()
        sealed_secret = pw.TextField()
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()

    class WebhookDelivery(Table):
        webhook = pw.ForeignKeyField(Webhook, on_delete="CASCADE")
        digest = pw.TextField()
        at = pw.BigIntegerField()
        event = pw.TextField()
        ref = pw.TextField(null=True)
        revision = pw.TextField(null=True)
        outcome = pw.TextField()
        detail = pw.TextField()
        run_id = pw.IntegerField(null=True)

        class Meta:
            indexes = ((("webhook", "digest"), True),)

    class Notification(Table):
        id = pw.TextField(primary_key=True)
        stage = pw.ForeignKeyField(Stage)
        description = pw.TextField(default="")
        events = pw.JSONField()
        sealed_url = pw.TextField()
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()

    class Notice(Table):
        notification = pw.ForeignKeyField(Notification, on_delete="CASCADE")
        entry_id = pw.IntegerField()
        event = pw.TextField()
        title = pw.TextField()
        body = pw.TextField()
        created_at = pw.BigIntegerField()
        attempts = pw.IntegerField(default=0)
        next_at = pw.BigIntegerField(null=True)
        sent_at = pw.BigIntegerField(null=True)
        error = pw.TextField(null=True)

        class Meta:
            indexes = ((("notification", "entry_id"), True),)

    db.create_tables([Schedule, Webhook, WebhookDelivery, Notification, Notice])
