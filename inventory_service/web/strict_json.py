"""Reading JSON bodies without surprises.

Python's parser takes NaN, duplicate keys, lone surrogates and integers of any length, and answers deep nesting
with a RecursionError. Here each of them is a 400 that says what was wrong.
"""

from __future__ import annotations

import json
import math
from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

_DEEPEST = 32
_LONGEST_INTEGER = 19


class StrictRequest(Request):
    """A request whose `get_json` either returns clean data or raises BadRequest or UnsupportedMediaType."""

    def get_json(self, *_: Any, **__: Any) -> Any:
        """The parsed body; an empty one is an empty object. Arguments of Flask's own method are ignored."""
        data = self.get_data(cache=True)
        if not data.strip():
            return {}
        if self.mimetype != "application/json" and not self.mimetype.endswith("+json"):
            raise UnsupportedMediaType("Send the body as JSON, with the header Content-Type: application/json.")
        return parse(data)


def parse(data: bytes) -> Any:
    """The value of a JSON text. Raises BadRequest with a sentence for whoever sent it."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_object,
        )
        _check(value, 0)
        if not isinstance(value, dict):  # flask-openapi would parse a text's content once more, and less strictly
            raise BadRequest("The body is not a JSON object.")
    except UnicodeDecodeError as error:
        raise BadRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise BadRequest("The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    return value


def _refuse_constant(name: str) -> None:
    raise BadRequest(f"The body holds {name}, which is not JSON.")


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise BadRequest("The body holds an integer of more than 18 digits.")
    return int(text)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise BadRequest("The body holds a number that is too large.")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("The body holds an object with the same key twice.")
    return found


def _check(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise BadRequest(f"The body is nested more than {_DEEPEST} levels deep.")
    if isinstance(value, str) and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        raise BadRequest("The body holds text with a NUL or half a surrogate pair.")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
