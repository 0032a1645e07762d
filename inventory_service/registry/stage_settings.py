"""The settings of a stage, each described once.

A field of `StageChange` is a setting: its name in the API and on the command line, its type and bounds, and in its
`Setting` where it is kept, what it is in words, and where the page's form has it. The API's bodies, `callboard stage
add` and `set`, and the form are made from here; a new setting needs a column, a line here, and its use.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from inventory_service.errors import InvalidError
from inventory_service.registry import names
from inventory_service.registry.number_or_percent import check_amount

LINEAR, MITOGEN = "linear", "mitogen"
STRATEGIES = (LINEAR, MITOGEN)
ROLLOUTS, TIMES, PLAYBOOKS, MACHINES = "Rollouts", "Time allowed", "Playbooks", "Machines"
SECTIONS = (ROLLOUTS, TIMES, PLAYBOOKS, MACHINES)
FLAG, NUMBER, CHOICE, LIST, MAPPING, TEXT = "flag", "number", "choice", "list", "mapping", "text"

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_LARGEST_VARIABLES = 65536
_BATCH = re.compile(r"([0-9]{1,6})(%?)")
_MOST_BATCHES = 20
_PLAYBOOK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,254}\.ya?ml")
_LONGEST_TIME = 2**31 - 1


def check_batches(batches: list[int | str], loc: str = "batches") -> list[int | str] | None:
    """How many hosts a rollout takes at a time, as Ansible's `serial`: numbers and percentages, the canary first.

    The last one is repeated. None, which the empty list means, leaves it to the playbook.
    """
    if len(batches) > _MOST_BATCHES:
        raise InvalidError.at(loc, f"More than {_MOST_BATCHES} batches; the last one is repeated by itself.")
    return [_batch(one, loc) for one in batches] or None


def _batch(one: int | str, loc: str) -> int | str:
    found = _BATCH.fullmatch(str(one))
    number = int(found[1]) if found else 0
    if found is None or number == 0 or (found[2] and number > 100):  # noqa: PLR2004 - percent
        raise InvalidError.at(loc, f"{str(one)[:40]!r} is no batch: write a number of hosts, or a share like 25%.")
    return f"{number}%" if found[2] else number


def check_playbook(path: str, loc: str = "playbook") -> str:
    """A playbook's path inside its source: relative, ending in .yml or .yaml, never leaving the source."""
    if not _PLAYBOOK.fullmatch(path) or any(part in {"", ".", ".."} for part in path.split("/")):
        raise InvalidError.at(loc, f"{path[:80]!r} is no playbook path inside the source; write it like deploy.yml.")
    return path


def check_revision_name(name: str, loc: str = "revision") -> str:
    """A branch, tag or commit as a person writes it (git's own rules, and nothing that looks like an option)."""
    is_odd = name.startswith(("-", "/")) or ".." in name or "@{" in name or name.endswith((".lock", "/", "."))
    if is_odd or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./+@#-]{0,199}", name):
        raise InvalidError.at(loc, f"{name[:80]!r} is no branch, tag or commit.")
    return name


def check_variables(variables: dict[str, Any], loc: str = "variables") -> dict[str, Any]:
    """Variables that an operator wrote: names that Ansible accepts, 64 KB of JSON in all."""
    for name in variables:
        if not _VARIABLE.fullmatch(name):
            raise InvalidError.at(loc, f"{name[:60]!r} is no valid variable name.")
    if len(json.dumps(variables)) > _LARGEST_VARIABLES:
        raise InvalidError.at(loc, f"The variables are larger than {_LARGEST_VARIABLES} bytes.")
    return variables


def _check_user(name: str, _loc: str) -> str:
    return names.check_user(name) if name else name


def _check_strategy(name: str, loc: str) -> str:
    if name not in STRATEGIES:
        raise InvalidError.at(loc, f"The strategy is {' or '.join(STRATEGIES)}.")
    return name


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What a field of `StageChange` is. `help` is a sentence for the API's document and `--help`.

    `section`, `label` and `hint` (`help` where it is None) are the form's; without a section it is not in the form.
    `otherwise`: what holds where it is empty. `column`: of `Stage`, where it has another name. `former`: the setting's
    name in earlier versions, which the API and the command line still take. `check`: (value, name) → the value to keep.
    """

    help: str
    section: str | None = None
    label: str = ""
    hint: str | None = None
    otherwise: str = ""
    column: str | None = None
    former: str | None = None
    check: Callable[[Any, str], Any] | None = None

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The API's document has the sentence, too."""
        return {**handler(schema), "description": self.help}


class StageChange(BaseModel):
    """The fields of a stage that a person may set; None means "leave it as it is"."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    description: Annotated[str | None, Field(max_length=500), Setting("What the stage is, for people.")] = None
    variables: Annotated[
        dict[str, Any] | None,
        Setting("Ansible variables of all its hosts; they replace those before.", check=check_variables),
    ] = None
    ansible_user: Annotated[
        str | None,
        Field(max_length=32),
        Setting(
            "Whom Ansible signs in as on the hosts.",
            MACHINES,
            "User",
            "Whom Ansible signs in as on the machines. Empty: as Ansible is configured.",
            check=_check_user,
        ),
    ] = None
    interval_seconds: Annotated[
        int | None,
        Field(ge=1, le=3600),
        Setting(
            "Seconds between heartbeats (60).",
            MACHINES,
            "Heartbeat every, in seconds",
            "Agents are told with their next heartbeat.",
        ),
    ] = None
    ttl_seconds: Annotated[
        int | None,
        Field(ge=2, le=86400),
        Setting(
            "Silence after which a host leaves the inventory (300).",
            MACHINES,
            "Stale after, in seconds of silence",
            "At least twice the interval; a stale host gets no runs.",
        ),
    ] = None
    agentless: Annotated[
        bool | None,
        Setting(
            "Allow agentless heartbeats with a join token.",
            MACHINES,
            "Machines may send agentless heartbeats",
            "A cron line with curl in the place of an agent. Such a host reports no SSH host keys.",
            column="has_agentless",
            former="simple_join",
        ),
    ] = None
    converge: Annotated[
        bool | None,
        Setting(
            "Bring hosts to the desired release by itself.",
            ROLLOUTS,
            "Converge by itself",
            "Hosts that boot, join or come back are brought to the desired release.",
            column="has_convergence",
        ),
    ] = None
    approval: Annotated[
        bool | None,
        Setting(
            "New hosts wait until an operator lets them in.",
            MACHINES,
            "New machines wait for approval",
            "They are pending, and get no runs, until an operator lets them in.",
            column="has_approval",
        ),
    ] = None
    default_revision: Annotated[
        str | None,
        Field(max_length=200),
        Setting(
            "What a deploy without a revision takes (HEAD): a branch, tag or commit.",
            PLAYBOOKS,
            "Default revision",
            "What a deploy without a revision takes: a branch, tag or commit.",
            check=check_revision_name,
        ),
    ] = None
    deploy_playbook: Annotated[
        str | None,
        Field(max_length=255),
        Setting(
            "What deploys run: of the source, else the one that ships (deploy.yml).",
            PLAYBOOKS,
            "Deploy playbook",
            "Of the source; deploy.yml ships, too.",
            check=check_playbook,
        ),
    ] = None
    rollback_playbook: Annotated[
        str | None,
        Field(max_length=255),
        Setting(
            "What rollbacks run: of the source, else the one that ships (rollback.yml).",
            PLAYBOOKS,
            "Rollback playbook",
            "Of the source; rollback.yml ships, too.",
            check=check_playbook,
        ),
    ] = None
    strategy: Annotated[
        Literal["linear", "mitogen"] | None,
        Setting(
            "How Ansible reaches hosts (linear); mitogen needs the extra callboard[mitogen] on the workers.",
            PLAYBOOKS,
            "Strategy",
            "mitogen is faster; it has to be installed on the workers.",
            check=_check_strategy,
        ),
    ] = None
    batches: Annotated[
        list[Annotated[int, Field(strict=True, ge=1, le=999_999)] | Annotated[str, Field(max_length=7)]] | None,
        Field(max_length=_MOST_BATCHES),
        Setting(
            "Hosts that a rollout takes at a time, canary first: 1, 25%, 100%. Empty: as the playbook says.",
            ROLLOUTS,
            "Batches",
            "Hosts at a time, canary first: numbers or shares. The last one is repeated.",
            "the playbook's own, such as 1, 25%, 100%",
            check=check_batches,
        ),
    ] = None
    auto_rollback: Annotated[
        bool | None,
        Setting(
            "Roll back a rollout that stops by itself, and lock the stage.",
            ROLLOUTS,
            "Roll back by itself",
            "A rollout that stops is undone on the hosts that it touched, and the stage is locked.",
            column="has_auto_rollback",
        ),
    ] = None
    minimum_healthy: Annotated[
        str | None,
        Field(max_length=10),
        Setting(
            "A run stops when fewer of the hosts live at its start are left healthy: 3, 75%; empty: no bound.",
            ROLLOUTS,
            "Minimum healthy",
            "A run stops when fewer of the hosts that were live at its start are left healthy.",
            "no bound, such as 75%",
            check=check_amount,
        ),
    ] = None
    maximum_unreachable: Annotated[
        str | None,
        Field(max_length=10),
        Setting(
            "Live hosts that may be unreachable; beyond it a run stops: 3, 10%; empty: each fails the run.",
            ROLLOUTS,
            "Maximum unreachable",
            "So many live hosts may be unreachable; beyond it a run stops. Empty: each fails the run, none stops it.",
            "none, such as 10%",
            check=check_amount,
        ),
    ] = None
    run_timeout_seconds: Annotated[
        int | None,
        Field(ge=0, le=_LONGEST_TIME),
        Setting(
            "A run's longest time; 0: as the service is set.",
            TIMES,
            "Run, in seconds",
            "A run that takes longer is stopped.",
            "as the service: {run_timeout_seconds}",
        ),
    ] = None
    idle_timeout_seconds: Annotated[
        int | None,
        Field(ge=0, le=_LONGEST_TIME),
        Setting(
            "A run's longest time without event and output; 0: as the service is set.",
            TIMES,
            "Silence, in seconds",
            "A run without event and output for so long is stopped.",
            "as the service: {idle_timeout_seconds}",
        ),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _take_former_names(cls, given: Any) -> Any:
        twice = [
            one.name for one in TABLE.values() if isinstance(given, dict) and {one.name, one.former} <= given.keys()
        ]
        if twice:
            raise ValueError(f"{twice[0]} is given twice, also by its former name")
        return {_NOW.get(name, name): value for name, value in given.items()} if isinstance(given, dict) else given

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """With the former names, as deprecated."""
        document = handler.resolve_ref_schema(handler(schema))
        for former, name in _NOW.items():
            document["properties"][former] = {
                **document["properties"][name],
                "deprecated": True,
                "description": f"The former name of `{name}`.",
            }
        return document

    @classmethod
    def of(cls, given: dict[str, Any]) -> StageChange:
        """From what somebody typed. Raises InvalidError for the first field that is not acceptable."""
        for name, value in given.items():
            TABLE[name].checked(value)  # in better words than those of a bound
        try:
            return StageChange(**given)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidError.at(str(first["loc"][0]), f"{first['loc'][0]}: {first['msg']}.") from error

    def checked(self) -> dict[str, Any]:
        """The columns to write: the given fields, each checked. Raises InvalidError."""
        given = ((one, getattr(self, name)) for name, one in TABLE.items())
        return {one.column: one.checked(value) for one, value in given if value is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Described:
    """A setting as its makers need it. `kind`: FLAG, NUMBER, CHOICE, LIST, MAPPING or TEXT; `most`: of a number."""

    name: str
    kind: str
    setting: Setting
    choices: tuple[str, ...] = ()
    most: int | None = None

    @property
    def former(self) -> str | None:
        """Its name in earlier versions."""
        return self.setting.former

    @property
    def column(self) -> str:
        """Where it is kept."""
        return self.setting.column or self.name

    def checked(self, value: Any) -> Any:
        """The value to keep. Raises InvalidError for this field."""
        return self.setting.check(value, self.name) if self.setting.check else value


def _described(name: str) -> Described:
    field = StageChange.model_fields[name]
    setting = next(one for one in field.metadata if isinstance(one, Setting))
    most = next((int(str(one.le)) for one in field.metadata if isinstance(one, annotated_types.Le)), None)
    wanted = next(one for one in _alternatives(field.annotation) if one is not types.NoneType)
    kinds: Mapping[Any, str] = {bool: FLAG, int: NUMBER, Literal: CHOICE, list: LIST, dict: MAPPING}
    choices = get_args(wanted) if get_origin(wanted) is Literal else ()
    return Described(name, kinds.get(get_origin(wanted) or wanted, TEXT), setting, choices, most)


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in {Union, types.UnionType}
    return get_args(annotation) if is_union else (annotation,)


TABLE: Mapping[str, Described] = {name: _described(name) for name in StageChange.model_fields}
_NOW: Mapping[str, str] = {one.former: one.name for one in TABLE.values() if one.former}


@functools.cache
def by_column() -> Mapping[str, str]:
    """{column: the setting that it keeps}."""
    return {one.column: name for name, one in TABLE.items()}


@functools.cache
def in_section(section: str) -> tuple[Described, ...]:
    """The settings of a section of the form, boxes last."""
    found = [one for one in TABLE.values() if one.setting.section == section]
    return tuple(sorted(found, key=lambda one: one.kind == FLAG))
