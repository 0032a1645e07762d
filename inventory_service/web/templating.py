"""How the templates' lines become HTML: a line break between two tags is layout of the source, no space on the page.

So a template keeps one tag a line without marks of whitespace control. A tag here is one of HTML or of Jinja
(`{% … %}`); a value (`{{ … }}`) counts as words. Beside words a line break stays the space that HTML makes of it, and a
space within a line always stays: `<b>two</b> <i>words</i>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

_BREAK = re.compile(r"(?P<left>^|>)\s*\n\s*(?P<right><|$)")
# Of two pieces of text in a row, a comment stood between.
_MARK_ENDS, _MARK_BEGINS = frozenset({"initial", "block_end", "data"}), frozenset({"block_begin", "eof", "data"})


class LineBreaks(Extension):
    """Drops the line breaks between tags while a template is compiled; a page pays nothing for it."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        """The template's tokens, with the line breaks between tags taken out of its text."""
        left = "initial"
        for token in stream:
            if token.type == "data":
                text = _without_breaks(token.value, left, stream.current.type)
                token = Token(token.lineno, "data", text)  # noqa: PLW2901
            left = token.type
            if token.type != "data" or token.value:
                yield token


def _without_breaks(text: str, left: str, right: str) -> str:
    def shorter(found: re.Match[str]) -> str:
        is_tag_left = found["left"] or left in _MARK_ENDS
        is_tag_right = found["right"] or right in _MARK_BEGINS
        return found["left"] + found["right"] if is_tag_left and is_tag_right else found[0]

    return _BREAK.sub(shorter, text)
