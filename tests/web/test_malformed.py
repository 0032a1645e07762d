"""Whatever is sent, wherever: an answer that says what was wrong, never a 500."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import Caller
from tests.web.conftest import Route

REFUSED = {400, 401, 403, 404, 405, 409, 410, 413, 415, 422}
BODIES = {
    "no JSON": b"not json",
    "half": b'{"name": ',
    "array": b"[]",
    "null": b"null",
    "number": b"17",
    "text": b'"text"',
    "JSON in a text": json.dumps('{"name": "x", "facts": {"a": NaN}}').encode(),
    "NaN": b'{"name": NaN}',
    "same key twice": b'{"name": "a", "name": "b"}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "NUL": b'{"name": "a\\u0000"}',
    "30 digits": b'{"seq": 123456789012345678901234567890}',
    "10,000 deep": b'{"name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "latin-1": b'{"name": "\xe9"}',
    "unknown field": b'{"no such field": 1}',
    "prototype": b'{"__proto__": {}, "__class__": {}}',
}
ODD: list[Any] = [
    None,
    -1,
    10**18,
    "",
    "x" * 5000,
    "../../etc/passwd",
    "{{ lookup('pipe', 'id') }}",
    "\u202e\x1b[31m\n",
    "9999-12-31T23:59:59-12:00",
    "0001-01-01T00:00:00+14:00",
    [None],
    ["", "a\nb", "-x"],
    {"": None},
    {"ansible_connection": {"a": [1]}},
]


@pytest.fixture
def taking(routes: list[Route]) -> list[Route]:
    found = [route for route in routes if route.schema]
    assert len(found) >= 12
    return found


def send(route: Route, caller: Caller, data: bytes, content_type: str = "application/json") -> Any:
    headers = {"Authorization": f"Bearer {caller.token}"}
    return caller.client.open(route.url(), method=route.method, data=data, content_type=content_type, headers=headers)


def assert_problem(answer: Any, about: str) -> None:
    assert answer.status_code in REFUSED, f"{about}: {answer.status_code} {answer.data[:300]!r}"
    assert answer.content_type == "application/problem+json", about
    assert answer.json["status"] == answer.status_code, about
    assert answer.json["detail"], about


@pytest.mark.parametrize("kind", BODIES)
def test_it_rejects_a_body(taking: list[Route], callers: dict[str, Caller], kind: str) -> None:
    for route in taking:
        answer = send(route, callers[route.access], BODIES[kind])
        assert_problem(answer, f"{route.name}, {kind}")
        assert answer.status_code in (400, 413, 422), route.name


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_it_answers_415_to_what_is_not_called_json(
    taking: list[Route], callers: dict[str, Caller], content_type: str
) -> None:
    for route in taking:
        answer = send(route, callers[route.access], b"{}", content_type)
        assert (route.name, answer.status_code) == (route.name, 415)


def test_it_answers_413_to_2_mb(taking: list[Route], callers: dict[str, Caller]) -> None:
    for route in taking:
        answer = send(route, callers[route.access], b'{"name": "' + b"x" * 2_000_000 + b'"}')
        assert_problem(answer, route.name)
        assert (route.name, answer.status_code) == (route.name, 413)


def test_it_survives_every_odd_value_in_every_field(taking: list[Route], callers: dict[str, Caller]) -> None:
    for route in taking:
        assert route.schema is not None
        for field in route.schema["properties"]:
            for value in ODD:
                answer = callers[route.access].send(route.method, route.url(), valid(route) | {field: value})
                about = f"{route.name} {field}={value!r}: {answer.status_code} {answer.data[:200]!r}"
                assert answer.status_code < 500, about
                if answer.status_code >= 400:
                    assert_problem(answer, about)


def valid(route: Route) -> dict[str, Any]:
    """A body that the route takes; what exists already makes it a conflict, which is an answer as well."""
    if route.rule.endswith("/heartbeat"):
        return {"boot_id": "b007", "seq": 5}
    return {
        name: {"kind": "deploy", "stage": "shop/production", "source": "https://git.example.org/x.git"}.get(name, "x")
        for name in (route.schema or {}).get("required", [])
    }


def test_it_names_the_field_that_was_wrong(admin: Caller, stage: object) -> None:
    answer = admin.patch("/api/v1/stages/shop/production", {"ttl_seconds": "soon", "interval_seconds": 0})
    assert answer.status_code == 422
    assert [item["loc"] for item in answer.json["errors"]] == [["interval_seconds"], ["ttl_seconds"]]


# paths

TEXTS = ["%00", "%0a", "%20", "%ff%fe", "..%5c", "%F0%9F%98%80", "x" * 4000, "%7B%7Bx%7D%7D", "%27%20OR%201=1--", "-x"]
NUMBERS = ["0", "-1", "9" * 40, "9223372036854775808", "1.5", "x", "%00", "1%0a", "٣"]


@pytest.mark.parametrize("text", TEXTS)
def test_it_survives_odd_text_in_a_path(routes: list[Route], callers: dict[str, Caller], text: str) -> None:
    for route in routes:
        for name in ("project", "stage", "host", "address", "token", "user"):
            if f"<{name}>" in route.rule:
                answer = callers[route.access].send(route.method, route.url(**{name: text}), {})
                assert_problem(answer, f"{route.name} {name}={text[:40]}")


@pytest.mark.parametrize("text", NUMBERS)
def test_it_survives_odd_numbers_in_a_path(routes: list[Route], callers: dict[str, Caller], text: str) -> None:
    about = [route for route in routes if "<int:" in route.rule]
    assert about
    for route in about:
        for name in ("run", "other"):
            if f"<int:{name}>" in route.rule:
                assert_problem(callers[route.access].send(route.method, route.url(**{name: text}), {}), route.name)


# queries

NO_PARAMETER = "no-such-parameter"
QUERIES = {
    "limit": ["0", "-1", "501", "9" * 40, "x", "", "1.5", "NaN", "1e3", "%00"],
    "cursor": ["x", "-1", "9" * 40, "9" * 64, "%00", "x" * 65, "٣", "%ff"],
    "after": ["-1", "9" * 40, "x", "%00"],
    "start": ["-1", "9" * 40, "4611686018427387904", "x"],
    "state": ["x", "live,x", "%00", ",", "x" * 81],
    "out_of_date": ["2", "x", "%00"],
    "drift": ["2", "x", "%00"],
    "q": ["%00", "%25", "_", "%ff", "x" * 101],
    "stage": ["x", "/", "a/b/c", "%00/%00", "shop/", "x" * 131],
    "status": ["x", "%00"],
    "failed": ["x", "2"],
    "follow": ["x"],
    "host": ["%00", "x" * 254],
    "at": ["x", "2026-11-23", "9" * 40, "%00"],
    NO_PARAMETER: ["1"],
}


@pytest.mark.parametrize("name", QUERIES)
def test_it_survives_odd_queries(routes: list[Route], callers: dict[str, Caller], name: str) -> None:
    taking = [route for route in routes if route.method == "GET" and name in {*route.queries, NO_PARAMETER}]
    assert taking
    for route in taking:
        for value in QUERIES[name]:
            answer = callers[route.access].get(f"{route.url()}?{name}={value}")
            assert answer.status_code in {200, *REFUSED}, f"{route.name}?{name}={value}: {answer.status_code}"


def test_it_survives_odd_values_of_every_other_parameter(routes: list[Route], callers: dict[str, Caller]) -> None:
    others = [(route, name) for route in routes if route.method == "GET" for name in route.queries - set(QUERIES)]
    assert {name for _, name in others} >= {"revision", "playbook", "range"}
    for route, name in others:
        for value in ("", "%00", "%ff", "٣", "--x", "x" * 5000):
            answer = callers[route.access].get(f"{route.url()}?{name}={value}")
            assert answer.status_code in {200, *REFUSED}, f"{route.name}?{name}={value}: {answer.status_code}"


@pytest.mark.parametrize("value", QUERIES["limit"])
def test_it_rejects_a_mistyped_limit(viewer: Caller, value: str) -> None:
    assert viewer.get(f"/api/v1/runs?limit={value}").status_code == 422


def test_it_survives_odd_headers(viewer: Caller, launch: Any, run: object) -> None:
    assert viewer.get("/api/v1/runs/1/log", headers={"Last-Event-ID": "9" * 19}).status_code == 200
    assert viewer.get("/api/v1/runs/1/log", headers={"Last-Event-ID": "٣x-1"}).status_code == 200
    assert viewer.get("/api/v1/projects", headers={"X-Forwarded-For": "é, 999.9.9.9, ,"}).status_code == 200
    for key in ("", "x" * 201, "é", "a\tb"):
        assert launch(headers={"Idempotency-Key": key}).status_code == 422


# what is no route


@pytest.mark.parametrize(
    "path", ["/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/projects", "/api/v1/projects/a/b/c"]
)
def test_it_answers_404_where_there_is_no_route(admin: Caller, path: str) -> None:
    assert_problem(admin.get(path), path)
    assert admin.get(path).status_code == 404


@pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT", "BREW"])
def test_it_answers_405_and_says_what_is_allowed(admin: Caller, method: str) -> None:
    answer = admin.send(method, "/api/v1/runs", {})
    assert_problem(answer, method)
    assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"GET", "HEAD", "OPTIONS", "POST"})
