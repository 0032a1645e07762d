"""What a host's identity and silence need: its earlier boots, since when it is stale, a host key that no run knew."""

import peewee as pw


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("host", "host_key_mismatch", pw.TextField(null=True)),
        migrator.add_column("host", "earlier_boots", pw.TextField(null=True)),
        migrator.drop_column("host", "previous_boot_id"),
        migrator.add_column("host", "stale_since", pw.BigIntegerField(null=True)),
    )
