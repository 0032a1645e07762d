"""What is said of a run: why it ended, what became of a host, what a repeat has otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from inventory_service.codes.run import End, HostNote, SnapshotNote, Wait
from inventory_service.reasons import split
from inventory_service.wording import host
from inventory_service.wording.lists import some

_Params = Mapping[str, Any]
_MAY_HAVE_COMPLETED = "the tasks in flight may have completed"
TOLERATED = "it is unreachable, which the stage's maximum_unreachable allows"
PAUSED = (
    "The expiry of {stage}'s hosts is paused: too many are silent to tell who is live. Say allow_paused_expiry to run "
    "on what is listed, or expire the silent ones first."
)
_LOOK = "What was under way may have completed; look at the hosts before you go on."
_KEY_ADVICE = (
    "If the machine was reinstalled, let it enrol again or vouch for its keys (callboard host keys ID FILE…); "
    "if not, another machine answers at its address: do not connect."
)


def ended(reasons: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a run ended, and what was noted beside it: one text. None where there is nothing to say."""
    return " ".join(_ENDS[End(one["code"])](one) for one in reasons) or None


def host_note(code: str | None, params: Mapping[str, Any] | None) -> str | None:
    """What somebody has to know of one host of a run; None for nothing."""
    return None if code is None else _HOST_NOTES[HostNote(code)](params or {})


def left_out(code: str, params: Mapping[str, Any]) -> str:
    """Why a host is left out, as Ansible's log says it after the host's name."""
    return _LEFT_OUT[HostNote(code)](params)


def waits_for(code: str, params: Mapping[str, Any]) -> str:
    """What a queued run waits for, without a full stop."""
    return _WAITS[Wait(code)](params)


def stops(reason: Mapping[str, Any]) -> str:
    """Why a run stops, as Ansible's log says it after `the run stops: `."""
    code = End(reason["code"])
    return (_STOPS.get(code) or _ENDS[code])(reason)


def key_taken(key: str | None, run: int) -> str:
    """Why a request with an idempotency key is refused."""
    return f"The idempotency key {key!r} belongs to run {run}, which asked for something else."


def snapshot_note(note: Mapping[str, Any]) -> str:
    """One thing that a run has otherwise than the one that it repeats or rolls back."""
    return _SNAPSHOT_NOTES[SnapshotNote(note["code"])](note)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _listed(p: _Params) -> str:
    return some(p["hosts"], more=p["more"])


def _count(p: _Params) -> int:
    return len(p["hosts"]) + int(p["more"])


def _executor_died(p: _Params) -> str:
    if p["tasks"]:
        named = some([f"{host} ({task or 'a task'})" for host, task in p["tasks"]], more=p["more"])
        return f"Its executor died with a task under way on {named}. {_LOOK}"
    known = "nothing is known" if p["tasks"] is None else "no host had a task under way, as far as is known"
    return f"Its executor died; {known}. {_LOOK}"


def _ansible_failed(p: _Params) -> str:
    why = f": {p['text']}" if p["text"] else "; the log says why."
    return f"ansible-playbook ended with code {p['return_code']}{why}"


def _nobody_there(p: _Params) -> str:
    named = some([f"{name} ({result})" for name, result in p["hosts"]], more=p["more"])
    return f"No hosts matched: none of the repeated run's hosts is there now: {named}."


def _stopped(say: Callable[[_Params], str]) -> Callable[[_Params], str]:
    return lambda p: f"Stopped: {say(p)}"


_STOPS: dict[End, Callable[[_Params], str]] = {
    End.OUT_OF_TIME: lambda p: f"it took longer than {p['seconds']:.0f} s; {_MAY_HAVE_COMPLETED}.",
    End.IDLE: lambda p: f"it was idle for {p['seconds']:.0f} s, with no event and no output; {_MAY_HAVE_COMPLETED}.",
    End.TOO_MANY_UNREACHABLE: lambda p: (
        f"{p['count']} of the run's {p['of']} hosts are unreachable, and the stage's maximum_unreachable of "
        f"{p['bound']} allows {p['most']}."
    ),
    End.TOO_FEW_HEALTHY: lambda p: (
        f"{p['count']} of the {p['of']} hosts that were live at the start are left healthy, and the stage's "
        f"minimum_healthy of {p['bound']} asks for {p['least']}."
    ),
}
_ENDS: dict[End, Callable[[_Params], str]] = {
    End.CANCELED_BEFORE_START: lambda p: f"Canceled by {p['by']} before it started.",
    End.CANCELED: lambda p: f"Canceled by {p['by'] or 'somebody'}; {_MAY_HAVE_COMPLETED} on their hosts.",
    End.STAGE_ARCHIVED: lambda _: "Canceled before it started: its stage was archived.",
    End.EXPIRY_PAUSED: lambda _: "Not run: the expiry of the stage's hosts is paused, so it is unclear who is live.",
    End.NOBODY_OUT_OF_DATE: lambda _: "Not run: nobody is out of date any more.",
    End.INTERRUPTED: lambda _: f"Interrupted; {_MAY_HAVE_COMPLETED} on their hosts.",
    End.EXECUTOR_DIED: _executor_died,
    End.SENDER_SILENT: lambda _: (
        "The machine that records it fell silent. If it kept a spool, `callboard spool send` there sends the rest."
    ),
    End.HOSTS_FAILED: lambda p: f"{_count(p)} of {p['of']} hosts failed: {_listed(p)}.",
    End.HOSTS_UNREACHABLE: lambda p: f"{_count(p)} of {p['of']} hosts {_were(_count(p))} unreachable: {_listed(p)}.",
    End.HOST_KEYS_MISMATCH: lambda p: _key_mismatch(_listed(p)),
    End.HOST_SAID: lambda p: f"{p['host']}: {p['text']}",
    End.ANSIBLE_FAILED: _ansible_failed,
    End.NO_HOSTS_LEFT: lambda p: f"No hosts left: {p['count']} of {p['of']} fell silent before their turn.",
    End.NOBODY_TOUCHED: lambda _: (
        "No hosts matched: the playbook's plays touched none of the run's hosts. Their `hosts:` have to name hosts or "
        "groups of the stage; localhost is none of them, a task goes there with delegate_to."
    ),
    End.NO_LIVE_HOST: lambda p: f"No hosts matched: {p['stage']} has no live host for this run.",
    End.NOBODY_THERE: _nobody_there,
    End.NOT_PREPARED: lambda p: str(p["text"]),
    End.SERVICE_FAILED: lambda p: f"Callboard itself failed: {p['text']}.",
    End.LOG_INCOMPLETE: lambda p: f"Incomplete: the log could not be written ({p['text']}).",
    End.EVENTS_INCOMPLETE: lambda p: f"Incomplete: events could not be stored ({p['text']}).",
    End.DISK_FULL: lambda p: f"No space left on device: the disk of {p['folder']} is full.",
    End.FILES_UNWRITABLE: lambda p: f"The run's files could not be written ({p['text']}); free some space.",
    End.NO_EARLIER_RELEASE: lambda _: "There is no release before it to go back to.",
    End.ROLLED_BACK: lambda p: f"Run {p['run']} goes back to release {p['release']} on {p['count']} of its hosts.",
    End.ROLLBACK_REFUSED: lambda p: f"It could not be rolled back: {p['text']}",
    End.STAGE_LOCKED: lambda _: "The stage is locked.",
    End.OTHER: lambda p: str(p["text"]),
    **{code: _stopped(say) for code, say in _STOPS.items()},
}


def _key_mismatch(names: str) -> str:
    return f"Host key mismatch: {names} did not show an SSH host key that is on record. {_KEY_ADVICE}"


_LEFT_OUT: dict[HostNote, Callable[[_Params], str]] = {
    HostNote.LEFT_STAGE: lambda _: "it has left the stage",
    HostNote.SILENT: lambda p: f"it has been silent since {p['since']}",
}
_HOST_NOTES: dict[HostNote, Callable[[_Params], str]] = {
    HostNote.LEFT_STAGE: lambda p: f"Left out: {left_out(HostNote.LEFT_STAGE, p)}.",
    HostNote.SILENT: lambda p: f"Left out: {left_out(HostNote.SILENT, p)}.",
    HostNote.UNDER_WAY: lambda p: (
        f"The task {(p['task'] or '?')!r} was under way when the run ended; it may have completed."
    ),
    HostNote.HOST_KEY_MISMATCH: lambda p: _key_mismatch(p["host"]),
    HostNote.UNKNOWN: lambda _: "no longer known",
    HostNote.GONE: lambda p: (p["why"] and host.gone(*split(p["why"]))) or "silent for too long",
    HostNote.STALE: lambda _: "silent for longer than its ttl",
    HostNote.IN_CONFLICT: lambda p: str(host.conflict(*split(p["why"]))),
    HostNote.TO_BE_ENDED: lambda _: "its machine is to be ended",
    HostNote.OTHER: lambda p: str(p["text"]),
}


_WAITS: dict[Wait, Callable[[_Params], str]] = {
    Wait.LOCK: lambda p: f"the lock by {p['by']}: {p['reason']}",
    Wait.RUN: lambda p: (
        f"run {p['run']} ({p['kind']}, {p['status']})" + (f" and {p['more']} more" if p["more"] else "")
    ),
    Wait.WORKER: lambda _: "a free worker",
}


def _tool(version: str | None) -> str:
    return version or "not there"


_SNAPSHOT_NOTES: dict[SnapshotNote, Callable[[_Params], str]] = {
    SnapshotNote.NOT_LIVE: lambda p: f"{p['host']}, on which run {p['run']} worked, is not live now.",
    SnapshotNote.OTHER_HOST_KEYS: lambda p: (
        f"{p['host']} has other SSH host keys than in run {p['run']}; those of now are used."
    ),
    SnapshotNote.OTHER_ADDRESS: lambda p: (
        f"{p['host']} had the address {p['before'][0]} port {p['before'][1]}; now {p['now'][0]} port {p['now'][1]} "
        "is used."
    ),
    SnapshotNote.OTHER_TOOL: lambda p: (
        f"{p['tool']} was {_tool(p['before'])} in run {p['run']} and is {_tool(p['now'])} now."
    ),
    SnapshotNote.SECRET_SET: lambda p: f"The secret {p['secret']} was set since run {p['run']}.",
    SnapshotNote.SECRET_REMOVED: lambda p: f"The secret {p['secret']} was removed since run {p['run']}.",
    SnapshotNote.OTHER: lambda p: str(p["text"]),
}
