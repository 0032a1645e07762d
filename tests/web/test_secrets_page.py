from __future__ import annotations

import pytest
from flask import Flask

from inventory_service.web.pages.secrets import _value


@pytest.mark.parametrize(("kind", "value"), [("file", b"first\nsecond\n"), ("variable", b"first\nsecond")])
def test_it_keeps_the_last_line_end_of_a_file_only(app: Flask, kind: str, value: bytes) -> None:
    with app.test_request_context(method="POST", data={"value": "first\r\nsecond\r\n"}):
        assert _value(kind) == value
