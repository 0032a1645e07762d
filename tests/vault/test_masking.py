from __future__ import annotations

import base64
import html
import json
import logging
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_service.vault.masking import MASK, Masker, MaskingFormatter

SECRET = "S3cr3t'\"&ünd/canary%"
LINES = "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo\nabcdefghijkl\nxyz=\n-----END KEY-----\n"
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "json": json.dumps,
    "json, readable": lambda text: json.dumps({"a": [text]}, ensure_ascii=False, indent=4),
    "json in json": lambda text: json.dumps({"msg": json.dumps({"password": text})}),
    "python": repr,
    "shell": shlex.quote,
    "url": lambda text: f"https://u:{quote(text, safe='')}@h/",
    "form": lambda text: f"p={quote_plus(text)}",
    "lower case url": lambda text: quote(text, safe="").replace("%C3%BC", "%c3%bc").lower(),
    "html": html.escape,
    "hex": lambda text: text.encode().hex(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of a line": lambda text: base64.b64encode(f"{text}\n".encode()).decode(),
    "basic auth": lambda text: base64.b64encode(f"ada:{text}".encode()).decode(),
    "base64 amid others": lambda text: base64.urlsafe_b64encode(f"12345{text}67".encode()).decode(),
}


@pytest.mark.parametrize("how", [name for name in ENCODINGS if name != "lower case url"])
def test_it_masks_a_value_however_it_is_spelled(how: str) -> None:
    shown = ENCODINGS[how](SECRET)
    masked = Masker([SECRET]).text(f"before {shown} after")
    assert MASK in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert [part for part in ("cr3t", "canary", base64.b64encode(b"S3cr3t").decode()[:7]) if part in masked] == []


def test_it_masks_lower_case_escapes() -> None:
    assert Masker(["a/b c&d"]).text("x=a%2fb%20c%26d;") == f"x={MASK};"


@given(
    secret=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=8, max_size=40),
    around=st.text("abc \n", max_size=20),
)
def test_it_leaves_nothing_of_any_secret(secret: str, around: str) -> None:
    masker = Masker([secret])
    for how in ("plain", "json", "json in json", "python", "url", "hex", "base64", "basic auth"):
        assert MASK in masker.text(around + ENCODINGS[how](secret) + around)
    assert secret not in masker.text(around + secret + around + secret)


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=8), max_size=5))
def test_it_changes_nothing_where_no_secret_is(text: str, others: list[str]) -> None:
    assert Masker(["canary-of-the-mine"]).text(text) == text
    assert Masker().texts([text, *others]) == [text, *others]


def test_it_masks_each_line_of_a_value_alone_and_all_of_it() -> None:
    masker = Masker([LINES])
    assert masker.text("got 'abcdefghijkl'") == f"got '{MASK}'"
    assert set(masker.text(LINES).split()) == {MASK}
    assert "xyz=" not in masker.text(f"key: {json.dumps(LINES)}")


def test_it_masks_what_is_wrapped_indented_and_coloured() -> None:
    masker = Masker(["correct-horse-battery", "my long pass phrase"])
    assert (
        masker.text("\x1b[31mcorrect-ho\x1b[0m\n    \x1b[31mrse-battery\x1b[0m!") == f"\x1b[31m{MASK}\n{MASK}\x1b[0m!"
    )
    assert masker.text("my long\n  pass phrase") == f"{MASK}\n{MASK}"
    wrapped = base64.encodebytes(b"correct-horse-battery" * 9).decode()
    assert "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5" not in masker.text(wrapped).replace("\n", "")


def test_it_masks_a_secret_that_goes_on_in_the_next_piece() -> None:
    masker = Masker(["correct-horse-battery"])
    assert masker.texts(["a correct-", "horse-ba", "ttery b", "c"]) == [f"a {MASK}", MASK, f"{MASK} b", "c"]
    assert masker.is_cut("a correct-")
    assert not masker.is_cut("a correct-x")
    assert not Masker().is_cut("a correct-")


def test_it_leaves_no_rest_where_secrets_overlap() -> None:
    assert Masker(["hunter22", "22swordfish"]).text("<hunter22swordfish>") == f"<{MASK}>"


def test_it_masks_texts_numbers_and_keys_inside_a_value() -> None:
    masker = Masker(["canary", "123456789"])
    value = {"canary": [{"n": 123456789, "ok": True}], "text": "a canary"}
    assert masker.value(value) == {MASK: [{"n": MASK, "ok": True}], "text": f"a {MASK}"}
    same = {"ok": [1, None, "text"]}
    assert masker.value(same) is same


def test_it_masks_bytes_that_are_no_text() -> None:
    data = bytes(range(200, 256))
    assert Masker([data]).text(base64.b64encode(data).decode()) == MASK


def test_it_masks_log_lines_with_their_tracebacks() -> None:
    formatter = MaskingFormatter("%(levelname)s %(message)s", lambda: Masker(["canary"]))
    error = ValueError("the canary sang")
    record = logging.LogRecord("n", logging.ERROR, "f", 1, "%s died", ("canary",), (type(error), error, None))
    assert formatter.format(record).count(MASK) == 2
    assert "canary" not in formatter.format(record)


# texts that were cut before they came here


@pytest.mark.parametrize("how", ["plain", "json", "python", "url", "hex", "base64"])
@pytest.mark.parametrize("mark", ["… [cut, 1048600 characters]", "\\u2026 [cut, 9 items]"])
def test_it_masks_the_beginning_of_a_secret_that_was_cut(how: str, mark: str) -> None:
    shown = ENCODINGS[how](SECRET).strip("'\"").removeprefix("https://u:").removesuffix("@h/")
    for size in range(1, len(shown)):
        told = Masker([SECRET]).text(f"{'~' * 50}{shown[:size]}{mark} and more")
        assert told.removeprefix("~" * 50) == f"{MASK}{mark} and more", (size, told)


def test_it_masks_it_over_lines_and_colours_and_for_each_cut() -> None:
    cut = "… [cut, 9 characters]"
    told = Masker(["one two three four", "another-secret"]).text(f"~one\n  two \x1b[0mth{cut}, another-s{cut} an{cut}")
    assert told == f"~{MASK}\n{MASK}{cut}, {MASK}{cut} {MASK}{cut}"


def test_it_leaves_dots_that_people_write() -> None:
    masker = Masker(["secret-value"])
    assert masker.text("is it sec… no, s…, …") == "is it sec… no, s…, …"
    assert masker.text("it is secre…") == f"it is {MASK}…"
    assert Masker().text("it is secre…") == "it is secre…"
