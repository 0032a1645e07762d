"""Sentences about scaling: decisions, readings, failures, findings and lifecycle actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inventory_service.codes.scaling import Failure, Finding, Lifecycle, Plan, Preview, Reading
from inventory_service.reasons import split
from inventory_service.wording import host
from inventory_service.wording.templates import fill

Params = Mapping[str, Any]

_PLAN = {
    Plan.TARGET_ABOVE: "{policy}: {signal} is {value:.3g}, the target {target:.3g}: {hosts}.",
    Plan.TARGET_BELOW: "{policy}: {signal} is {value:.3g}, the target {target:.3g}: {hosts} {are} enough.",
    Plan.TARGET_MET: "{policy}: {signal} is {value:.3g}, the target {target:.3g}: {hosts} {are} right.",
    Plan.STEP_NONE: "{policy}: {signal} is {value:.3g}, the threshold {threshold:.3g}: no step.",
    Plan.STEP: "{policy}: {signal} is {value:.3g}, the threshold {threshold:.3g}: {hosts} by its step.",
    Plan.SCHEDULE: "{policy}: at least {hosts} by schedule.",
    Plan.BOUNDED: "Bounded to {capacity}: there are to be {minimum} to {maximum}.",
    Plan.ROLLING_BACK: "No change: the release is being rolled back; a new host would start with it.",
    Plan.COOLDOWN_OUT: "No change: the cooldown after adding hosts lasts {seconds:.0f} s more.",
    Plan.COOLDOWN_IN: "No change: the cooldown after removing hosts lasts {seconds:.0f} s more.",
    Plan.EXPIRY_PAUSED: "No change: expiry is paused for the stage; who is silent may still serve.",
    Plan.RUN_ACTIVE: "No change: run {run} works on the hosts.",
    Plan.NOT_SERVING: "No change: {hosts} {do} not serve yet.",
    Plan.READING_MISSING: "No change: without a reading of {policies} no host goes.",
    Plan.NO_CANDIDATE: ("No change: no machine may go; each is protected, in a run, out of date or draining already."),
    Plan.OTHER: "{text}",
}
_READING = {
    Reading.NOT_REPORTED: "nobody reported {metric} for {seconds:.0f} s",
    Reading.REPORTED_BEFORE: "{metric} was last reported {seconds:.0f} s ago",
    Reading.TOO_FEW_REPORT: "only {reporting} of {expected} hosts report it",
    Reading.NO_VALUE: "there is no value",
    Reading.NOT_MEASURED: "nothing was measured",
    Reading.NOBODY_SERVES: "no machine serves",
    Reading.CLOUDWATCH_UNSURE: "CloudWatch gave nothing certain of {metric}: {text}",
    Reading.CLOUDWATCH_EMPTY: "CloudWatch has no value of {metric}",
    Reading.CLOUDWATCH_OLD: "CloudWatch's newest value of {metric} is {seconds:.0f} s old",
    Reading.OTHER: "{text}",
}
_FAILURE = {
    Failure.EXPIRED: "It was not carried out in time; what it saw is no longer so.",
    Failure.PROTECTED: (
        "{instances} {are} protected from scale-in by now; no machine was ended, and its hosts serve again."
    ),
    Failure.DRAIN_FAILED: "The drain run {run} was {status}; no machine was ended, and its hosts serve again.",
    Failure.AWS_REFUSED: "AWS refused a call about {about}: {error}. {text}",
    Failure.AWS_UNREACHABLE: "AWS could not be asked about {about}: {text}",
    Failure.NO_GROUP: "AWS has no Auto Scaling group '{group}' in {region}; was it deleted or renamed?",
    Failure.GROUP_FULL: "The group '{group}' lets there be {maximum} machines at most; raise its MaxSize.",
    Failure.UNEXPECTED: "Unexpected: {error}: {text}. See the service's log.",
    Failure.REFUSED: "{text}",
    Failure.OTHER: "{text}",
}
_FINDING_KINDS = {
    Finding.AGENT_SILENT: "agent dead",
    Finding.NOT_ENROLLED: "unknown",
    Finding.ENDED: "ended",
    Finding.BEATS_AFTER_END: "ended, but it beats",
    Finding.OTHER_STAGE: "not of this stage",
    Finding.BAD_TAG: "tag",
}
_FINDING = {
    Finding.AGENT_SILENT: "{host} runs at EC2 as {instance}, and its agent is silent.",
    Finding.NOT_ENROLLED: "{instance} runs at EC2, and never enrolled here.",
    Finding.ENDED: "EC2 says that {instance} is {state}; {host} is gone.",
    Finding.BEATS_AFTER_END: "{host} beats, but EC2 says that {instance} is {state}.",
    Finding.OTHER_STAGE: "{host} enrolled here, but {instance} is neither the actuator's nor tagged for this stage.",
    Finding.BAD_TAG: "A tag of {instance} is no group. {text}",
}
_PREVIEW = {
    Preview.GIVEN: "Played the given trace.",
    Preview.SHIPPED: "Played the shipped trace: a week of a web shop's traffic.",
    Preview.RECORDED: "Played what was recorded in the last {span}.",
    Preview.TOO_LITTLE_RECORDED: (
        "There is {there} of {metrics} on record; played the shipped trace, a week of a web shop's traffic."
    ),
    Preview.PRESENT_NOT_PLAYED: "The present policies read other metrics, and could not be played.",
}
_LIFECYCLE = {
    Lifecycle.NOT_ENROLLED: "It has not enrolled yet.",
    Lifecycle.NOT_LISTED: "{host} is not listed: it is {state}.",
    Lifecycle.IN_CONFLICT: "{host} is not listed: {conflict}.",
    Lifecycle.OUT_OF_DATE: "{host} is being brought to release {release}.",
    Lifecycle.RUN_ACTIVE: "A run works on {host}.",
    Lifecycle.DRAINING: "The drain run {run} is {status}.",
    Lifecycle.READY: "{host} is live and runs what it should.",
    Lifecycle.DRAINED: "It drained.",
    Lifecycle.NOBODY_TO_DRAIN: "There is no live host to drain.",
    Lifecycle.DRAIN_ENDED: "The drain run {run} was {status}.",
    Lifecycle.DRAIN_TOO_LONG: "The drain run {run} took too long.",
    Lifecycle.OTHER_HOOK: "The stage has another hook now.",
    Lifecycle.NO_LONGER_WAITING: "The group does not wait any more.",
    Lifecycle.NOT_ANSWERED: "The stage answers no hooks now.",
    Lifecycle.OTHER: "{text}",
}


def signal(statistic: str, metric: str, window_seconds: int) -> str:
    """`avg load1_per_cpu over 300 s`."""
    return f"{statistic} {metric} over {window_seconds} s"


def plan(code: str, params: Params) -> str:
    """One line of a decision's reasons."""
    if code == Plan.NO_READING:
        return f"{params['policy']}: {reading(*split(params['problem']))}."
    if code == Plan.READING_MISSING:
        params = {**params, "policies": ", ".join(params["policies"])}
    if "statistic" in params:
        params = {**params, "signal": signal(params["statistic"], params["metric"], params["window_seconds"])}
    if (count := params.get("hosts", params.get("capacity"))) is not None:
        is_one = count == 1
        hosts = f"{count} host{'' if is_one else 's'}"
        params = {**params, "hosts": hosts, "are": "is" if is_one else "are", "do": "does" if is_one else "do"}
    return fill(_PLAN, code, params)


def reading(code: str, params: Params) -> str:
    """Why there is no value, as a part of a sentence."""
    return fill(_READING, code, params)


def failure(code: str, params: Params) -> str:
    """Why it could not be done."""
    if code == Failure.PROTECTED:
        instances = params["instances"]
        params = {"instances": ", ".join(instances), "are": "is" if len(instances) == 1 else "are"}
    return fill(_FAILURE, code, params)


def finding_kind(code: str) -> str:
    """In two or three words."""
    return fill(_FINDING_KINDS, code, {})


def finding(code: str, params: Params) -> str:
    """In what EC2 and the registry differ."""
    return fill(_FINDING, code, params)


def lifecycle(code: str, params: Params) -> str:
    """What an instance waits for, or why it was answered as it was."""
    if code == Lifecycle.NOT_HEALTHY:
        return f"{params['host']} is not healthy: {params['text'] or 'no reason given'}."
    if code == Lifecycle.QUARANTINED:
        reason = host.quarantine(*split(params["quarantine"])) if params["quarantine"] else None
        return reason or "Its host is quarantined."
    if code == Lifecycle.NOT_WAITING:
        return f"The group does not wait any more: it says {params['state'] or 'nothing of it'}."
    if code == Lifecycle.NOT_TAKEN:
        answer = lifecycle(*split(params["answer"]))
        return f"{answer} The group did not wait for that answer any more."
    if code == Lifecycle.IN_CONFLICT:
        params = {**params, "conflict": host.conflict(*split(params["conflict"]))}
    return fill(_LIFECYCLE, code, params)


def answer(code: str, details: Params) -> str:
    """What was answered for an instance, of an event's details."""
    reason = lifecycle(code, details)
    return f"{details['instance']} ({details['transition']}): {reason}" if "instance" in details else reason


def preview(code: str, params: Params) -> str:
    """What was played, or could not be."""
    span = _span(params["seconds"]) if params.get("seconds") is not None else ""
    there = f"only {span}" if span else "nothing"
    return fill(_PREVIEW, code, {"span": span, "there": there, "metrics": ", ".join(params.get("metrics", ()))})


def _span(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"  # noqa: PLR2004 - two days
