"""One description of each thing: what is told and what is answered come from it, former names of fields too."""

import datetime as dt
import json

import pytest
from pydantic import ValidationError

from inventory_service.web.answers.base import Answer, Moment, Number, old_name


class Machine(Answer):
    pinned_release: int | None
    load: Number
    seen_at: Moment
    held_release = old_name("pinned_release", int | None)


AT = dt.datetime(2026, 12, 1, 12, 0, 0, 1999, tzinfo=dt.UTC)


def test_a_former_name_of_a_field_has_its_value():
    machine = Machine(pinned_release=3, load=1, seen_at=AT)
    assert machine.to_json() == {
        "pinned_release": 3,
        "load": 1,
        "seen_at": "2026-12-01T12:00:00.001Z",
        "held_release": 3,
    }


def test_a_former_name_is_told_as_deprecated():
    schema = Machine.model_json_schema(mode="serialization")
    told = schema["properties"]["held_release"]
    assert (told["deprecated"], told["description"]) == (True, "The old name of `pinned_release`.")
    assert "deprecated" not in schema["properties"]["pinned_release"]


def test_a_whole_number_stays_whole():
    assert json.loads(Machine(pinned_release=None, load=3, seen_at=AT).model_dump_json())["load"] == 3
    assert '"load":3,' in Machine(pinned_release=None, load=3, seen_at=AT).model_dump_json()


def test_it_rejects_what_is_not_described():
    with pytest.raises(ValidationError, match="surplus"):
        Machine(pinned_release=None, load=3, seen_at=AT, surplus=1)
