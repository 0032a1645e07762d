from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest

from inventory_service.web.strict_json import parse


def test_it_takes_an_object() -> None:
    assert parse('{"a": [1, 2.5, "grüß", null, true, {"😀": -1}]}'.encode()) == {
        "a": [1, 2.5, "grüß", None, True, {"😀": -1}]
    }


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": 1} x', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\n"}', "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": -1e999}', "too large"),
        (b'{"a": 123456789012345678901234567890}', "integer"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "integer"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"b": [{"a": 1, "\\u0061": 2}]}', "same key twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a": ["\\u0000"]}', "NUL"),
        (b'{"\\u0000": 1}', "NUL"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "nested"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"1", "object"),
        (b'"text"', "object"),
        (b'"{\\"a\\": NaN}"', "object"),
    ],
)
def test_it_rejects(data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse(data)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0eE+-.tfn\\u', max_size=60).map(str.encode))
def test_it_parses_or_rejects_any_bytes(data: bytes) -> None:
    try:
        value = parse(data)
    except BadRequest:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == value
