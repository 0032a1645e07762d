"""The runs table is the queue: what is queued is looked for ten times a second."""


def up(migrator, db):
    migrator.migrate(migrator.add_index("run", ("status",)))
