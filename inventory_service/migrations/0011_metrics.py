"""Frames of metrics."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Stage(Table):
        pass

    class MetricFrame(Table):
        stage = pw.ForeignKeyField(Stage, index=False)
        metric = pw.TextField()
        seconds = pw.IntegerField()
        at = pw.BigIntegerField()
        expected = pw.IntegerField()
        reporting = pw.IntegerField()
        avg = pw.DoubleField()
        p50 = pw.DoubleField()
        p95 = pw.DoubleField()
        max = pw.DoubleField()
        min = pw.DoubleField()
        sum = pw.DoubleField()
        packed = pw.BlobField()

        class Meta:
            indexes = ((("stage", "seconds", "metric", "at"), True), (("seconds", "at"), False))

    db.create_tables([MetricFrame])
