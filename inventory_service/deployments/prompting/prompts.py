"""Prompts: what a playbook asks when it is launched. Each answer becomes an extra var.

A playbook declares them in a file beside it (`charge.prompts.yml` beside `charge.yml`): so they belong to its revision
and are reviewed with it, and an older release asks what it asked then. The `vars_prompt` of its plays are prompts, too.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

from inventory_service.adapters import patterns
from inventory_service.vault import references
from inventory_service.vault.kinds import SHORTEST

TEXT, TEXTAREA, INTEGER, FLOAT = "text", "textarea", "integer", "float"
BOOLEAN, CHOICE, MULTIPLE_CHOICE = "boolean", "choice", "multiple_choice"
TYPES = (TEXT, TEXTAREA, INTEGER, FLOAT, BOOLEAN, CHOICE, MULTIPLE_CHOICE)
TEXTS, NUMBERS, CHOOSING = (TEXT, TEXTAREA), (INTEGER, FLOAT), (CHOICE, MULTIPLE_CHOICE)
LONGEST = 10_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FLOAT = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]{0,300})?|\.[0-9]{1,300})([eE][+-]?[0-9]{1,3})?")
_LARGEST_NUMBER = 1e300
_TRUE, _FALSE = ("true", "yes", "on", "y", "1"), ("false", "no", "off", "n", "0")


class AnswerError(Exception):
    """An answer does not fit its prompt."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prompt:
    """One question. `default` None: there is none. `minimum` and `maximum` bound a number, a text's length, or how
    many are chosen; `pattern` has to fit a whole text. `is_asked`: a play asks by itself (vars_prompt), so it has to
    get an answer, an empty one at least.
    """

    name: str
    question: str
    type: str = TEXT
    help: str = ""
    is_required: bool = True
    default: Any = None
    is_secret: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    is_asked: bool = False

    @property
    def rules(self) -> str:
        """What an answer must be, in a few words: `integer, 1 to 100`."""
        rules = ["secret " + self.type if self.is_secret else self.type.replace("_", " ")]
        rules[0] += f" of {', '.join(self.choices)}" if self.choices else ""
        bounds = _bounds(self.minimum, self.maximum)
        unit = {TEXT: " characters", TEXTAREA: " characters", MULTIPLE_CHOICE: " of them"}.get(self.type, "")
        rules += [bounds + unit] if bounds else []
        return ", ".join([*rules, *([f"pattern {self.pattern}"] if self.pattern else [])])

    def settle(self, value: Any) -> Any:
        """The answer in the prompt's type; texts as people type them are taken for every type.

        Raises AnswerError, which never holds the value of a secret prompt, with what is wrong as a whole sentence.
        """
        if is_reference(value) and self.type in TEXTS:
            return value
        settled: Any = _READERS[self.type](self, value)
        size = settled if self.type in NUMBERS else len(settled) if isinstance(settled, str | list) else None
        if size is not None and self.type != CHOICE and not _is_within(size, self.minimum, self.maximum):
            raise AnswerError(f"Wanted: {self.rules}.")
        if self.pattern is not None:
            _check_pattern(self.pattern, settled)
        if self.is_secret and len(settled.strip()) < SHORTEST:
            raise AnswerError(f"It is shorter than {SHORTEST} characters and could not be masked.")
        return settled

    def to_json(self) -> dict[str, Any]:
        """As the API shows it and `from_json` takes it."""
        return {
            "name": self.name,
            "question": self.question,
            "type": self.type,
            "help": self.help,
            "required": self.is_required,
            "default": self.default,
            "secret": self.is_secret,
            "choices": list(self.choices),
            "min": self.minimum,
            "max": self.maximum,
            "pattern": self.pattern,
            "vars_prompt": self.is_asked,
        }

    @classmethod
    def from_json(cls, shown: dict[str, Any]) -> Prompt:
        """The prompt that `to_json` wrote."""
        return cls(
            name=shown["name"],
            question=shown["question"],
            type=shown["type"],
            help=shown["help"],
            is_required=shown["required"],
            default=shown["default"],
            is_secret=shown["secret"],
            choices=tuple(shown["choices"]),
            minimum=shown["min"],
            maximum=shown["max"],
            pattern=shown["pattern"],
            is_asked=shown["vars_prompt"],
        )


def is_reference(value: Any) -> bool:
    """Whether the value stands for a secret by name."""
    return isinstance(value, dict) and len(value) == 1 and bool(references.names(value))


def is_empty(value: Any) -> bool:
    """Whether a value answers nothing: null, an empty text, nothing chosen."""
    return value is None or value in ("", [])


def _check_pattern(pattern: str, text: str) -> None:
    try:
        if patterns.fits(pattern, text):
            return
    except TimeoutError:
        message = f"The pattern {pattern} takes too long to try on it; the playbook needs a simpler one."
        raise AnswerError(message) from None
    raise AnswerError(f"It does not fit the pattern {pattern}.")


def _bounds(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"at least {least:g}" if least is not None else f"at most {most:g}" if most is not None else ""


def _is_within(size: float, least: float | None, most: float | None) -> bool:
    return (least is None or size >= least) and (most is None or size <= most)


def _text(prompt: Prompt, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise AnswerError("Wanted: a text.")
    text = str(value)
    if len(text) > LONGEST:
        raise AnswerError(f"It is longer than {LONGEST} characters.")
    if "\0" in text or (prompt.type == TEXT and len(text.splitlines()) > 1):
        raise AnswerError("Wanted: one line of text.")
    return text


def _integer(_: Prompt, value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 10**18:
        raise AnswerError("Wanted: a whole number.")
    return value


def _float(_: Prompt, value: Any) -> float:
    if isinstance(value, str) and _FLOAT.fullmatch(value.strip()):
        value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > _LARGEST_NUMBER or math.isnan(value):
        raise AnswerError("Wanted: a number.")
    return float(value)


def _boolean(_: Prompt, value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, bool):
        return word
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise AnswerError("Wanted: true or false.")


def _choice(prompt: Prompt, value: Any) -> str:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if text is None or text not in prompt.choices:
        raise AnswerError(f"Wanted: one of {', '.join(prompt.choices)}.")
    return text


def _choices(prompt: Prompt, value: Any) -> list[str]:
    """A list, or a text with commas or line ends between."""
    if isinstance(value, str):
        value = [value] if value in prompt.choices else [part.strip() for part in re.split(r"[,\n]", value)]
    if not isinstance(value, list) or not all(isinstance(one, str | int | float) for one in value):
        raise AnswerError(f"Wanted: a list, each of {', '.join(prompt.choices)}.")
    given = [str(one) for one in value if one != ""]
    if any(one not in prompt.choices for one in given):
        raise AnswerError(f"Wanted: each one of {', '.join(prompt.choices)}.")
    return [one for one in prompt.choices if one in given]


_READERS: dict[str, Callable[[Prompt, Any], Any]] = {
    TEXT: _text,
    TEXTAREA: _text,
    INTEGER: _integer,
    FLOAT: _float,
    BOOLEAN: _boolean,
    CHOICE: _choice,
    MULTIPLE_CHOICE: _choices,
}
