"""Secrets of projects and stages; secret extra vars of runs."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Project(Table):
        pass

    class Stage(Table):
        pass

    class Secret(Table):
        project = pw.ForeignKeyField(Project)
        stage = pw.ForeignKeyField(Stage, null=True)
        name = pw.TextField()
        kind = pw.TextField()
        sealed = pw.TextField()
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()
        updated_by = pw.TextField()
        updated_at = pw.BigIntegerField()

        class Meta:
            indexes = ((("stage", "name"), True),)

    Secret.add_index(
        Secret.index(Secret.project, Secret.name, unique=True, name="secret_project_name").where(Secret.stage.is_null())
    )
    db.create_tables([Secret])
    migrator.migrate(migrator.add_column("run", "sealed_vars", pw.TextField(null=True)))
