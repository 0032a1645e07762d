"""Whether a run may start on a frozen stage; it is asked again when its turn comes."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(migrator.add_column("run", "allows_frozen", pw.BooleanField(default=False)))
