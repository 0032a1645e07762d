from __future__ import annotations

from pathlib import Path

import click
import pytest

from inventory_service.cli.arguments import batches, given, stage_path, variables


def test_it_writes_the_path_of_a_stage() -> None:
    assert stage_path("shop/production") == "/api/v1/stages/shop/production"
    assert stage_path("shop/a b?#%") == "/api/v1/stages/shop/a%20b%3F%23%25"


@pytest.mark.parametrize("stage", ["", "shop", "/", "shop/", "/production", "a/b/c", "../x/y"])
def test_it_rejects_what_is_no_stage(stage: str) -> None:
    with pytest.raises(click.BadParameter, match="write it as project/stage"):
        stage_path(stage)


def test_it_takes_variables_as_ansible_does(tmp_path: Path) -> None:
    file = tmp_path / "vars.yml"
    file.write_text("colour: red\nsizes: [1, 2]\n")
    assert variables(("a=1", "b=x=y", f"@{file}", '{"a": 2}', "empty=")) == {
        "a": 2,
        "b": "x=y",
        "colour": "red",
        "sizes": [1, 2],
        "empty": "",
    }


@pytest.mark.parametrize(
    "text", ["nonsense", "{bad json", "[1]", "@/nowhere/at/all.yml", "@{list}", "@{bad}", "@{odd}"]
)
def test_it_rejects_what_is_no_variable(tmp_path: Path, text: str) -> None:
    contents = {"list": b"- 1\n", "bad": b"a: [\n", "odd": b"\xff\xfe\x00"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in contents:
        text = text.replace(f"{{{name}}}", str(tmp_path / name))
    with pytest.raises(click.BadParameter):
        variables((text,))


def test_it_leaves_out_what_was_not_given() -> None:
    assert given(a=None, b=(), c=("x",), d=False, e="", f=0) == {"c": ["x"], "d": False, "e": "", "f": 0}


@pytest.mark.parametrize(
    ("text", "found"), [(None, None), ("", []), ("1,25%, 100%", [1, "25%", "100%"]), ("x", ["x"]), ("٣", ["٣"])]
)
def test_it_takes_batches_as_a_list(text: str | None, found: list[int | str] | None) -> None:
    assert batches(None, None, text) == found
