"""A setting is described once: what is made from its description knows each of them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from inventory_service.cli import main
from inventory_service.errors import InvalidError
from inventory_service.models import Stage
from inventory_service.registry import stage_settings
from inventory_service.registry.stage_settings import TABLE, Described, StageChange, in_section
from inventory_service.web import answers

IN_FORM = [one for section in stage_settings.SECTIONS for one in in_section(section)]


@pytest.mark.parametrize("one", TABLE.values(), ids=lambda one: one.name)
def test_each_setting_has_a_column_and_is_answered(one: Described) -> None:
    assert one.column in Stage._meta.fields, f"the table stage has no column {one.column}"
    assert one.name in answers.Stage.model_fields, f"the answer Stage leaves out {one.name}"


def test_the_form_has_all_but_description_and_variables() -> None:
    assert {one.name for one in IN_FORM} == set(TABLE) - {"description", "variables"}


@pytest.mark.parametrize("one", TABLE.values(), ids=lambda one: one.name)
def test_the_command_line_and_the_api_say_what_it_is(one: Described) -> None:
    told = StageChange.model_json_schema()["properties"][one.name]
    assert told["description"] == one.setting.help
    if one.name == "variables":
        return
    helped = " ".join(CliRunner().invoke(main, ["stage", "set", "--help"], terminal_width=1000).output.split())
    assert one.setting.help in helped
    assert f"--{one.name.replace('_', '-')}" in helped


def test_only_given_settings_change() -> None:
    assert StageChange(converge=False, batches=[]).checked() == {"has_convergence": False, "batches": None}


def test_what_is_typed_out_of_bounds_is_refused_by_name() -> None:
    with pytest.raises(InvalidError) as caught:
        StageChange.of({"ansible_user": "x" * 33})
    assert caught.value.errors[0]["loc"] == ["ansible_user"]
