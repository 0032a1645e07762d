"""Sentences about scaling become codes with parameters. Findings are looked for anew each minute, and begin empty."""

import json
import re

import peewee as pw

_FIELDS = {
    "int": r"\d+",
    "float": r"-?[\d.]+(?:e[+-]\d+)?",
    "word": r"\S+",
    "text": r".+",
    "rest": r".*",
}
_KINDS = {"int": int, "float": float}


class Shape:
    """The sentence of a code: parameters stand in it as {name:kind}."""

    def __init__(self, code, template, **fixed):
        parts = re.split(r"\{(\w+):(\w+)\}", template)
        self.code, self.fixed, self.kinds = code, fixed, dict(zip(parts[1::3], parts[2::3], strict=True))
        names = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        fields = (f"(?P<{name}>{_FIELDS[kind]}){re.escape(after)}" for name, kind, after in names)
        self.pattern = re.compile(re.escape(parts[0]) + "".join(fields), re.DOTALL)

    def read(self, text):
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        values = found.groupdict().items()
        return self.code, {**{name: _KINDS.get(self.kinds[name], str)(value) for name, value in values}, **self.fixed}


_SEEN = "{policy:text}: {statistic:word} {metric:word} over {window_seconds:int} s is {value:float}"
READINGS = (
    Shape("not_reported", "nobody reported {metric:word} for {seconds:int} s"),
    Shape("reported_before", "{metric:word} was last reported {seconds:int} s ago"),
    Shape("too_few_report", "only {reporting:int} of {expected:int} hosts report it"),
    Shape("no_value", "there is no value"),
    Shape("not_measured", "nothing was measured"),
    Shape("cloudwatch_unsure", "CloudWatch gave nothing certain of {metric:word}: {text:rest}"),
    Shape("cloudwatch_empty", "CloudWatch has no value of {metric:word}"),
    Shape("cloudwatch_old", "CloudWatch's newest value of {metric:word} is {seconds:int} s old"),
)
VETOES = (
    Shape("rolling_back", "Held: the release is being rolled back; a new host would start with it."),
    Shape("cooldown_out", "Held: the cooldown after adding hosts lasts {seconds:float} s more."),
    Shape("cooldown_in", "Held: the cooldown after removing hosts lasts {seconds:float} s more."),
    Shape("expiry_paused", "Held: the stage is frozen; who is silent may still serve."),
    Shape("run_active", "Held: run {run:int} works on the hosts."),
    Shape("not_serving", "Held: {hosts:int} hosts do not serve yet."),
    Shape("reading_missing", "Held: without a reading of {policies:text} no host goes."),
    Shape("no_candidate", "Held: no machine may go; each is protected, in a run, not converged or draining already."),
)
PLANS = (
    Shape("target_above", _SEEN + ", the target {target:float}: {capacity:int} hosts."),
    Shape("target_below", _SEEN + ", the target {target:float}: {capacity:int} hosts are enough."),
    Shape("target_met", _SEEN + ", the target {target:float}: {capacity:int} hosts are right."),
    Shape("step_none", _SEEN + ", the threshold {threshold:float}: no step."),
    Shape("step", _SEEN + ", the threshold {threshold:float}: {capacity:int} hosts by its step."),
    Shape("schedule", "{policy:text}: at least {capacity:int} by schedule."),
    Shape("bounded", "Bounded to {capacity:int}: there are to be {minimum:int} to {maximum:int}."),
)
FAILURES = (
    Shape("expired", "It was not carried out in time; what it saw is no longer so."),
    Shape(
        "protected",
        "{instances:text} is protected from scale-in by now; no machine was ended, and its hosts serve again.",
    ),
    Shape(
        "drain_failed",
        "The drain run {run:int} was {status:word}; no machine was ended, and its hosts serve again.",
    ),
    Shape("aws_refused", "AWS refused a call about {about:text}: {error:word}. {text:rest}"),
    Shape("aws_unreachable", "AWS could not be asked about {about:text}: {text:rest}"),
    Shape("no_group", "AWS has no Auto Scaling group '{group:text}' in {region:word}; was it deleted or renamed?"),
    Shape("group_full", "The group '{group:text}' lets there be {maximum:int} machines at most; raise its MaxSize."),
    Shape("unexpected", "Unexpected: {error:word}: {text:rest}. See the service's log."),
)
LIFECYCLES = (
    Shape("not_enrolled", "It has not enrolled yet."),
    Shape("not_listed", "{host:word} is not listed: it is {state:word}."),
    Shape("in_conflict", "{host:word} is not listed: {conflict:text}."),
    Shape("out_of_date", "{host:word} is being brought to release {release:int}."),
    Shape("out_of_date", "{host:word} is being brought to release None.", release=None),
    Shape("not_healthy", "{host:word} is not healthy: no reason given.", text=None),
    Shape("not_healthy", "{host:word} is not healthy: {text:text}."),
    Shape("run_active", "A run works on {host:word}."),
    Shape("draining", "The drain run {run:int} is {status:word}."),
    Shape("ready", "{host:word} is live and runs what it should."),
    Shape("drained", "It drained."),
    Shape("nobody_to_drain", "There is no live host to drain."),
    Shape("drain_ended", "The drain run {run:int} was {status:word}."),
    Shape("drain_too_long", "The drain run {run:int} took too long."),
    Shape("quarantined", "Its host is quarantined.", quarantine=None),
    Shape("other_hook", "The stage has another hook now."),
    Shape("not_waiting", "The group does not wait any more: it says nothing of it.", state=None),
    Shape("not_waiting", "The group does not wait any more: it says {state:word}."),
    Shape("no_longer_waiting", "The group does not wait any more."),
    Shape("not_answered", "The stage answers no hooks now."),
)
_GAVE_UP = Shape(
    "convergence",
    "Convergence gave up: {attempts:int} attempts to bring it to release {release:int} failed; see run {run:int}",
)
_NOT_TAKEN = " The group did not wait for that word any more."
_SIGNAL = re.compile(r"(?P<statistic>\S+) (?P<metric>\S+) over (?P<window_seconds>\d+) s")


def up(migrator, db):
    migrator.migrate(
        migrator.add_column("scaling_decision", "veto_code", pw.TextField(null=True)),
        migrator.add_column("scaling_decision", "error_code", pw.TextField(null=True)),
        migrator.add_column("scaling_decision", "error_params", pw.JSONField(null=True)),
        migrator.add_column("stage_scaling", "problem_code", pw.TextField(null=True)),
        migrator.add_column("stage_scaling", "problem_params", pw.JSONField(null=True)),
        migrator.add_column("stage_scaling", "hook_problem_code", pw.TextField(null=True)),
        migrator.add_column("stage_scaling", "hook_problem_params", pw.JSONField(null=True)),
        migrator.add_column("lifecycle_action", "reason_code", pw.TextField(null=True)),
        migrator.add_column("lifecycle_action", "reason_params", pw.JSONField(null=True)),
    )
    convert(db)
    migrator.migrate(
        migrator.drop_column("scaling_decision", "error"),
        migrator.drop_column("stage_scaling", "problem"),
        migrator.drop_column("stage_scaling", "hook_problem"),
        migrator.drop_column("lifecycle_action", "reason"),
    )


def convert(db):
    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class ScalingDecision(Table):
        status = pw.TextField()
        reasons = pw.JSONField()
        veto_code = pw.TextField(null=True)
        readings = pw.JSONField()
        error_code = pw.TextField(null=True)
        error_params = pw.JSONField(null=True)

    class StageScaling(Table):
        problem_code = pw.TextField(null=True)
        problem_params = pw.JSONField(null=True)
        hook_problem_code = pw.TextField(null=True)
        hook_problem_params = pw.JSONField(null=True)
        findings = pw.JSONField()

    class LifecycleAction(Table):
        reason_code = pw.TextField(null=True)
        reason_params = pw.JSONField(null=True)

    class Event(Table):
        changes = pw.JSONField()
        reason_code = pw.TextField(null=True)
        details = pw.JSONField()

    for id_, status, reasons, readings, error in _rows(
        db, "SELECT id, status, reasons, readings, error FROM scaling_decision"
    ):
        found = [plan(text) for text in _json(reasons)]
        is_vetoed = status == "held" and found and found[-1]["code"] in {shape.code for shape in VETOES}
        ScalingDecision.update(
            status="unchanged" if status == "held" else status,
            reasons=found,
            veto_code=found[-1]["code"] if is_vetoed else None,
            readings=[reading(name, value) for name, value in _json(readings).items()],
            **columns("error", failure(error)),
        ).where(ScalingDecision.id == id_).execute()
    for id_, problem, hook_problem in _rows(db, "SELECT id, problem, hook_problem FROM stage_scaling"):
        fields = {**columns("problem", failure(problem)), **columns("hook_problem", failure(hook_problem))}
        StageScaling.update(findings=[], **fields).where(StageScaling.id == id_).execute()
    for id_, status, reason in _rows(db, "SELECT id, status, reason FROM lifecycle_action WHERE reason IS NOT NULL"):
        fields = columns("reason", lifecycle(reason, is_abandoned=status == "abandoned"))
        LifecycleAction.update(**fields).where(LifecycleAction.id == id_).execute()
    for id_, name, details in _rows(db, "SELECT id, name, details FROM event WHERE substr(name, 1, 8) = 'scaling.'"):
        kept = _json(details)
        if "reason" in kept:
            Event.update(**event(name, kept.pop("reason"), kept)).where(Event.id == id_).execute()


def plan(text):
    """One of a decision's reasons, as JSON."""
    code, params = first((*VETOES, *PLANS), text)
    if code == "reading_missing":
        params = {"policies": params["policies"].split(", ")}
    if code == "other":
        policy, _, rest = text.removesuffix(".").partition(": ")
        problem, about = first(READINGS, rest)
        if problem != "other":
            code, params = "no_reading", {"policy": policy, "problem": {"code": problem, **about}}
    return {"code": code, **params}


def reading(name, value):
    """One signal with what it was. The name was words: `avg load1_per_cpu over 300 s`."""
    found = _SIGNAL.fullmatch(name)
    signal = found.groupdict() if found else {"statistic": "", "metric": value.get("metric", name)}
    code, params = first(READINGS, value["problem"]) if value.get("problem") else (None, {})
    return {
        **value,
        **signal,
        "window_seconds": int(signal.get("window_seconds", 0)),
        "problem": {"code": code, **params} if code else None,
    }


def failure(text):
    """(code, parameters); None for none."""
    if text is None:
        return None
    code, params = first(FAILURES, text)
    if code == "protected":
        params = {"instances": params["instances"].split(", ")}
    return code, params


def lifecycle(text, *, is_abandoned):
    """(code, parameters). Whatever an instance was abandoned for, its host was quarantined."""
    if text.endswith(_NOT_TAKEN):
        code, params = lifecycle(text.removesuffix(_NOT_TAKEN), is_abandoned=False)
        return "not_taken", {"answer": {"code": code, **params}}
    code, params = first(LIFECYCLES, text)
    if code == "in_conflict":
        params["conflict"] = {"code": "other", "text": params["conflict"]}
    if is_abandoned and code != "quarantined":
        return "quarantined", {"quarantine": quarantine(text)}
    return code, params


def quarantine(text):
    """A person's own words, unless convergence wrote them."""
    sentence, _, words = text.partition("; see run ")
    number, _, words = words.partition(": ")
    found = _GAVE_UP.read(f"{sentence}; see run {number}")
    if found is None:
        return {"code": "person", "text": text}
    return {"code": found[0], **found[1], "words": words or None}


def event(name, text, details):
    """An event's columns. `scaling.out`: "2 → 3: …"; answers to hooks: "i-0123 (launching): …"."""
    changes = {}
    if name in ("scaling.out", "scaling.in") and (found := re.fullmatch(r"(\d+) → (\d+): (.*)", text, re.DOTALL)):
        changes = {"capacity": [int(found[1]), int(found[2])]}
        params = plan(found[3])
        code = params.pop("code")
    elif name in ("scaling.continue", "scaling.abandon") and (
        found := re.fullmatch(r"(\S+) \((\w+)\): (.*)", text, re.DOTALL)
    ):
        code, params = lifecycle(found[3], is_abandoned=name == "scaling.abandon")
        details = {**details, "instance": found[1], "transition": found[2]}
    else:
        code, params = failure(text) if name == "scaling.fail" else ("other", {"text": text})
    return {"changes": changes, "reason_code": code, "details": {**params, **details}}


def first(shapes, text):
    """(code, parameters) of the first sentence that it is; else `other` with the text."""
    return next((found for shape in shapes if (found := shape.read(text))), ("other", {"text": text}))


def columns(name, found):
    code, params = found or (None, None)
    return {f"{name}_code": code, f"{name}_params": params}


def _rows(db, sql):
    return db.execute_sql(sql).fetchall()


def _json(value):
    return json.loads(value) if isinstance(value, str) else value
