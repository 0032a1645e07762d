"""The tables as of the first release. A frozen copy, independent of the models."""

import peewee as pw


def up(migrator, db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class ServiceState(Table):
        key = pw.TextField(primary_key=True)
        value = pw.JSONField()

    class JobTick(Table):
        name = pw.TextField(primary_key=True)
        next_at = pw.BigIntegerField()
        last_finished_at = pw.BigIntegerField(null=True)

    class User(Table):
        name = pw.TextField(unique=True)
        password_hash = pw.TextField()
        role = pw.TextField()
        projects = pw.JSONField(null=True)
        is_disabled = pw.BooleanField(default=False)
        created_at = pw.BigIntegerField()
        session_nonce = pw.TextField()

    class ApiToken(Table):
        id = pw.TextField(primary_key=True)
        secret_sha256 = pw.TextField()
        name = pw.TextField()
        role = pw.TextField()
        projects = pw.JSONField(null=True)
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()
        expires_at = pw.BigIntegerField(null=True)
        revoked_at = pw.BigIntegerField(null=True)

    class AuditEntry(Table):
        at = pw.BigIntegerField(index=True)
        actor = pw.TextField()
        action = pw.TextField()
        target = pw.TextField()
        details = pw.JSONField()
        peer = pw.TextField(null=True)

    class Project(Table):
        name = pw.TextField(unique=True)
        description = pw.TextField(default="")
        source = pw.TextField()
        source_kind = pw.TextField()
        variables = pw.JSONField()
        created_at = pw.BigIntegerField()
        archived_at = pw.BigIntegerField(null=True)

    class Stage(Table):
        project = pw.ForeignKeyField(Project)
        name = pw.TextField()
        description = pw.TextField(default="")
        variables = pw.JSONField()
        ansible_user = pw.TextField(null=True)
        interval_seconds = pw.IntegerField(default=60)
        ttl_seconds = pw.IntegerField(default=300)
        has_simple_join = pw.BooleanField(default=False)
        has_convergence = pw.BooleanField(default=True)
        default_revision = pw.TextField(default="HEAD")
        deploy_playbook = pw.TextField(default="deploy.yml")
        rollback_playbook = pw.TextField(default="rollback.yml")
        desired_release_number = pw.IntegerField(null=True)
        generation = pw.IntegerField(default=0)
        has_approval = pw.BooleanField(default=False)
        grace_from = pw.BigIntegerField(null=True)
        frozen_at = pw.BigIntegerField(null=True)
        freeze_reason = pw.TextField(null=True)
        freeze_calm = pw.IntegerField(default=0)
        freeze_not_before = pw.BigIntegerField(null=True)
        created_at = pw.BigIntegerField()
        archived_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("project", "name"), True),)

    class StageLock(Table):
        stage = pw.ForeignKeyField(Stage)
        holder = pw.TextField()
        run_id = pw.IntegerField(null=True)
        locked_by = pw.TextField()
        reason = pw.TextField()
        locked_at = pw.BigIntegerField()

        class Meta:
            indexes = ((("stage", "holder"), True),)

    class JoinToken(Table):
        id = pw.TextField(primary_key=True)
        stage = pw.ForeignKeyField(Stage)
        secret_sha256 = pw.TextField()
        description = pw.TextField(default="")
        groups = pw.JSONField()
        networks = pw.JSONField()
        maximum_uses = pw.IntegerField(null=True)
        uses = pw.IntegerField(default=0)
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()
        expires_at = pw.BigIntegerField(null=True)
        revoked_at = pw.BigIntegerField(null=True)

    class Host(Table):
        id = pw.TextField(primary_key=True)
        stage = pw.ForeignKeyField(Stage)
        name = pw.TextField()
        address = pw.TextField()
        port = pw.IntegerField(default=22)
        description = pw.TextField(default="")
        groups = pw.JSONField()
        host_keys = pw.JSONField()
        secret_sha256 = pw.TextField(null=True)
        secret_made_at = pw.BigIntegerField(null=True)
        previous_secret_sha256 = pw.TextField(null=True)
        instance = pw.TextField(null=True)
        join_token = pw.ForeignKeyField(JoinToken, null=True)
        enrolled_at = pw.BigIntegerField()
        last_seen_at = pw.BigIntegerField()
        recorded_state = pw.TextField()
        expired_at = pw.BigIntegerField(null=True)
        gone_at = pw.BigIntegerField(null=True)
        gone_reason = pw.TextField(null=True)
        is_draining = pw.BooleanField(default=False)
        is_quarantined = pw.BooleanField(default=False)
        quarantine_reason = pw.TextField(null=True)
        conflict = pw.TextField(null=True)
        boot_id = pw.TextField(null=True)
        previous_boot_id = pw.TextField(null=True)
        sequence = pw.BigIntegerField(null=True)
        agent_version = pw.TextField(null=True)
        facts = pw.JSONField()
        facts_hash = pw.TextField(null=True)
        metrics = pw.JSONField()
        release_number = pw.IntegerField(null=True)
        revision = pw.TextField(null=True)
        release_reported_at = pw.BigIntegerField(null=True)
        held_release_number = pw.IntegerField(null=True)
        converge_attempts = pw.IntegerField(default=0)
        converge_after = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("stage", "gone_at"), False),)

    class Transition(Table):
        host = pw.ForeignKeyField(Host)
        stage = pw.ForeignKeyField(Stage)
        at = pw.BigIntegerField()
        from_state = pw.TextField(null=True)
        to_state = pw.TextField()
        reason = pw.TextField()

        class Meta:
            indexes = ((("stage", "at"), False),)

    class Release(Table):
        stage = pw.ForeignKeyField(Stage)
        number = pw.IntegerField()
        revision = pw.TextField()
        revision_name = pw.TextField()
        variables = pw.JSONField()
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()
        succeeded_at = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("stage", "number"), True),)

    class Run(Table):
        stage = pw.ForeignKeyField(Stage)
        kind = pw.TextField()
        status = pw.TextField()
        playbook = pw.TextField()
        revision = pw.TextField(null=True)
        release_number = pw.IntegerField(null=True)
        limit = pw.TextField(null=True)
        exclude = pw.JSONField()
        tags = pw.JSONField()
        skip_tags = pw.JSONField()
        is_check = pw.BooleanField(default=False)
        is_diff = pw.BooleanField(default=False)
        extra_vars = pw.JSONField()
        comment = pw.TextField(default="")
        created_by = pw.TextField()
        created_at = pw.BigIntegerField()
        started_at = pw.BigIntegerField(null=True)
        ended_at = pw.BigIntegerField(null=True)
        sent_at = pw.BigIntegerField(null=True)
        error = pw.TextField(null=True)
        return_code = pw.IntegerField(null=True)
        snapshot = pw.JSONField(null=True)
        executor = pw.JSONField(null=True)
        lease_at = pw.BigIntegerField(null=True)
        cancel_requested_at = pw.BigIntegerField(null=True)
        cancel_requested_by = pw.TextField(null=True)
        idempotency_key = pw.TextField(null=True, unique=True)
        repeat_of = pw.IntegerField(null=True)
        log_bytes = pw.BigIntegerField(default=0)
        is_log_cut = pw.BooleanField(default=False)

        class Meta:
            indexes = ((("stage", "status"), False),)

    class RunHost(Table):
        run = pw.ForeignKeyField(Run, on_delete="CASCADE")
        host = pw.ForeignKeyField(Host, null=True)
        name = pw.TextField()
        address = pw.TextField()
        status = pw.TextField()
        ok = pw.IntegerField(default=0)
        changed = pw.IntegerField(default=0)
        failed = pw.IntegerField(default=0)
        unreachable = pw.IntegerField(default=0)
        skipped = pw.IntegerField(default=0)
        rescued = pw.IntegerField(default=0)
        ignored = pw.IntegerField(default=0)
        message = pw.TextField(null=True)

        class Meta:
            indexes = ((("run", "name"), True),)

    class RunEvent(Table):
        run = pw.ForeignKeyField(Run, on_delete="CASCADE")
        counter = pw.IntegerField()
        at = pw.BigIntegerField()
        event = pw.TextField()
        host = pw.TextField(null=True)
        play = pw.TextField(null=True)
        task = pw.TextField(null=True)
        action = pw.TextField(null=True)
        status = pw.TextField(null=True)
        is_changed = pw.BooleanField(default=False)
        duration_seconds = pw.FloatField(null=True)
        message = pw.TextField(null=True)
        log_start = pw.BigIntegerField()
        log_end = pw.BigIntegerField()

        class Meta:
            primary_key = pw.CompositeKey("run", "counter")

    Host.add_index(
        Host.index(Host.stage, Host.name, unique=True, name="host_present_name").where(Host.gone_at.is_null())
    )
    Host.add_index(Host.index(Host.instance, unique=True, name="host_present_instance").where(Host.gone_at.is_null()))
    db.create_tables(
        [
            ServiceState,
            JobTick,
            User,
            ApiToken,
            AuditEntry,
            Project,
            Stage,
            StageLock,
            JoinToken,
            Host,
            Transition,
            Release,
            Run,
            RunHost,
            RunEvent,
        ]
    )
