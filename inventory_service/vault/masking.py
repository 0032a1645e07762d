"""Masking: finding the values of secrets in text, however they were encoded, wrapped or coloured. Pure.

Ansible prints what modules return: as JSON, in differences, in messages with the value quoted for a shell or a URL,
in colours and over several lines. So each value is looked for in its common spellings, in the text without colours
and line ends; what is found is replaced in the text as it was.
"""

from __future__ import annotations

import base64
import bisect
import functools
import html
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"
_SHORTEST = 4
_SHORTEST_LINE = 6
_SHORTEST_CORE = 8
_SHORTEST_SPACED = 8
_MOST_ENCODED_LINES = 60
_DROPPED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[ \t]*\r?\n[ \t]*")
_BLANK = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\s+")
# What Ansible's side writes where it cut a text, before it came here (plugins/plugin_utils/run_limits.py, recorder.py).
_CUT = re.compile(r"(?:…|\\u2026)( \[cut, [0-9]+ (?:characters|items)\])?")
_NAMES = 1024
_BETWEEN = "\0"  # joins separate texts; no secret that is text holds it


class _Patterns:
    """Texts to look for in a text from which `dropped` was taken out. Found by their first four characters, so that
    the time does not depend on how many there are.
    """

    def __init__(self, texts: Iterable[str], dropped: re.Pattern[str], *, shortest: int) -> None:
        self.dropped = dropped
        self.texts = {one for text in texts if len(one := dropped.sub("", text)) >= shortest}
        self._openings = {one[:size] for one in self.texts for size in range(1, _SHORTEST)}
        self._by_start: dict[str, list[str]] = {}
        for one in self.texts:
            self._by_start.setdefault(one[:_SHORTEST], []).append(one)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Their spans in `text`, in no order."""
        if not self.texts:
            return []
        gaps = [match.span() for match in self.dropped.finditer(text)]
        squeezed = self.dropped.sub("", text) if gaps else text
        starts, size = self._by_start, _SHORTEST
        hits = [at for at in range(len(squeezed) - size + 1) if squeezed[at : at + size] in starts]
        found = [
            (at, at + len(one))
            for at in hits
            for one in starts[squeezed[at : at + size]]
            if squeezed.startswith(one, at)
        ]
        return _unsqueeze(found, gaps) if gaps else found

    def find_cut(self, text: str, mark: re.Match[str], *, since: int) -> tuple[int, int] | None:
        """The span before the mark of a cut, back to `since` at most, that is the beginning of one of them.

        Before three dots alone, which people write too, a few characters are none.
        """
        part = text[since : mark.start()]
        gaps = [found.span() for found in self.dropped.finditer(part)]
        squeezed = self.dropped.sub("", part) if gaps else part
        size = self._overlap(squeezed, shortest=1 if mark[1] else _SHORTEST)
        if not size:
            return None
        ((start, end),) = _unsqueeze([(len(squeezed) - size, len(squeezed))], gaps)
        return since + start, since + end

    def ends_amid(self, text: str) -> bool:
        """Whether the text ends with the beginning of one of them, and not the whole of it."""
        return self._overlap(text, shortest=1, has_rest=True) > 0

    def _overlap(self, text: str, *, shortest: int, has_rest: bool = False) -> int:
        """How many characters at the end of the text are the beginning of one of them, at least `shortest`; with
        `has_rest`, of one that goes on.
        """
        for at in range(len(text) - _SHORTEST + 1):
            rest = text[at:] if text[at : at + _SHORTEST] in self._by_start else ""
            longer = len(rest) + has_rest
            if rest and any(one.startswith(rest) and len(one) >= longer for one in self._by_start[rest[:_SHORTEST]]):
                return len(rest)
        sizes = range(min(_SHORTEST - 1, len(text)), shortest - 1, -1)
        short = (size for size in sizes if text[-size:] in self._openings)
        return next(short, 0)


class Masker:
    """Masks the given values. Made once per run; `Masker()` masks nothing.

    `reach`: how many characters the longest spelling of a secret has.
    """

    def __init__(self, values: Iterable[str | bytes] = ()) -> None:
        found: set[str] = set()
        for value in values:
            found |= spellings(value)
        spaced = [one for one in found if re.search(r"\s", one.strip())]
        self._tight = _Patterns(found, _DROPPED, shortest=_SHORTEST)
        self._loose = _Patterns(spaced, _BLANK, shortest=_SHORTEST_SPACED)
        self.reach = max((len(one) for one in found), default=0)
        self.name = functools.lru_cache(_NAMES)(self.text)  # for what comes again and again, such as a task's name

    def text(self, text: str) -> str:
        """The text with each secret replaced by asterisks."""
        spans = self._spans(text)
        return _apply(text, spans) if spans else text

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Texts that follow each other, such as lines: a secret that goes on in the next one is masked in both."""
        spans = self._spans("\n".join(texts))
        return _apply_each(texts, spans) if spans else list(texts)

    def value(self, value: Any) -> Any:
        """A JSON-like value with every text in it masked, keys too; the same object when it holds no secret."""
        leaves: list[str] = []
        if self.reach:
            _collect(value, leaves)
        if not self._spans(_BETWEEN.join(leaves)):
            return value
        return _rebuild(value, self.text)

    def is_cut(self, text: str) -> bool:
        """Whether the text ends amid what may be a secret, so that what follows must be seen before it is written."""
        end = _DROPPED.sub("", text[-4 * self.reach - 64 :])[-self.reach :] if self.reach else ""
        return self._tight.ends_amid(end)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Where secrets stand, merged, in order."""
        return _merge(self._tight.find(text) + self._loose.find(text) + self._cut(text))

    def _cut(self, text: str) -> list[tuple[int, int]]:
        """Where a text ends amid what may be a secret, since it was cut before it could be masked."""
        found, since = [], 0
        for mark in _CUT.finditer(text) if self.reach else ():
            since = max(since, mark.start() - 4 * self.reach - 64)
            found += [patterns.find_cut(text, mark, since=since) for patterns in (self._tight, self._loose)]
            since = mark.end()
        return [span for span in found if span is not None]


_holder = [Masker()]


def use(masker: Masker) -> None:
    """From now on this process logs through it. An executor serves one run, so there is one."""
    _holder[0] = masker


def in_use() -> Masker:
    """The masker for this process's log."""
    return _holder[0]


class MaskingFormatter(logging.Formatter):
    """Formats records as given and masks the result: messages, arguments and tracebacks alike."""

    def __init__(self, layout: str, masker: Callable[[], Masker]) -> None:
        super().__init__(layout)
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        """The line, masked with the masker of this moment."""
        return self._masker().text(super().format(record))


def spellings(value: str | bytes) -> set[str]:
    """Every text that gives the value away: the value, its encodings, its lines and their encodings."""
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    found = _encoded_bytes(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {one for one in found if len(one) >= _SHORTEST}
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
    if len(lines) <= _MOST_ENCODED_LINES:
        found |= {one for line in lines for one in _encoded_bytes(line.encode())}
    for one in {text, text.strip(), *lines}:
        found |= _quoted(one)
    return {one for one in found if len(one.strip()) >= _SHORTEST}


def _quoted(text: str) -> set[str]:
    """As shells, JSON, Python, URLs and HTML write it; JSON in JSON too."""
    found = {text, quote(text, safe=""), quote(text), quote_plus(text), html.escape(text), repr(text)[1:-1]}
    found |= {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), one) for one in found}
    found |= {text.replace("'", "'\"'\"'"), text.replace("'", "'\\''"), re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)}
    found |= {text.replace("'", "''"), text.replace('"', '\\"')}
    for _ in range(2):
        found |= {json.dumps(one, ensure_ascii=is_ascii)[1:-1] for one in found for is_ascii in (True, False)}
    return found


def _encoded_bytes(data: bytes) -> set[str]:
    found = {data.hex(), data.hex().upper()}
    for shown in (data, data.strip()):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found |= {encode(shown).decode(), encode(shown).decode().rstrip("=")}
            found |= {core for shift in range(3) if len(core := _core(shown, shift, encode)) >= _SHORTEST_CORE}
    return found


def _core(data: bytes, shift: int, encode: Callable[[bytes], bytes]) -> str:
    """The characters of base64 that depend on `data` alone when it stands `shift` bytes after a multiple of three."""
    encoded = encode(bytes(shift) + data).decode()
    return encoded[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6]


def _unsqueeze(spans: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """From positions in the squeezed text to those in the text."""
    befores, shifts, removed = [], [0], 0
    for start, end in gaps:
        befores.append(start - removed)
        removed += end - start
        shifts.append(removed)

    def original(position: int) -> int:
        return position + shifts[bisect.bisect_right(befores, position)]

    return [(original(start), original(end - 1) + 1) for start, end in spans]


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _apply(text: str, spans: list[tuple[int, int]]) -> str:
    """Line ends inside a secret stay, so that the text keeps its lines."""
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], *_masked(text[start:end])]
        position = end
    return "".join([*parts, text[position:]])


def _masked(secret: str) -> list[str]:
    return [part if part in ("\n", "\r\n") else MASK for part in re.split(r"(\r?\n)", secret) if part]


def _apply_each(texts: Sequence[str], spans: list[tuple[int, int]]) -> list[str]:
    """The masked texts; spans are of the texts as joined by line ends."""
    pieces, start = [], 0
    for text in texts:
        end = start + len(text)
        own = [(max(left, start) - start, min(right, end) - start) for left, right in spans]
        pieces.append(_apply(text, [(left, right) for left, right in own if left < right]))
        start = end + 1
    return pieces


def _collect(value: Any, leaves: list[str]) -> None:
    if isinstance(value, str):
        leaves.append(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect(key, leaves)
            _collect(item, leaves)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, leaves)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        leaves.append(str(value))


def _rebuild(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {_rebuild(key, mask): _rebuild(item, mask) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuild(item, mask) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        shown = mask(str(value))
        return value if shown == str(value) else shown
    return mask(value) if isinstance(value, str) else value
