"""The call without an agent is an agentless heartbeat."""


def up(migrator, db):
    db.execute_sql("ALTER TABLE stage RENAME COLUMN has_simple_join TO has_agentless")
