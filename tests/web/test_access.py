from __future__ import annotations

import pytest
from flask import Flask

from inventory_service.accounts import api_tokens
from inventory_service.models import ApiToken, Stage
from inventory_service.settings import Settings
from inventory_service.web import auth
from inventory_service.web.app import create_app
from tests.support import ADA, Caller, FakeClock, Machine
from tests.web.conftest import Route

Callers = dict[str, Caller]


def answers(routes: list[Route], caller: Caller, **other: str) -> dict[str, int]:
    return {route.name: caller.send(route.method, route.url(**other), {}).status_code for route in routes}


def of(routes: list[Route], *accesses: str) -> list[Route]:
    return [route for route in routes if route.access in accesses]


def names(routes: list[Route], status: int) -> dict[str, int]:
    return {route.name: status for route in routes}


def test_it_declares_an_access_for_every_route(routes: list[Route]) -> None:
    assert len(routes) > 40
    assert {route.name: route.access for route in routes if route.access not in auth.ACCESSES} == {}


def test_it_keeps_the_public_routes_few(routes: list[Route]) -> None:
    assert {route.name for route in of(routes, "public")} == {"GET /api/v1/ssh_key"}


def test_it_answers_401_without_a_token(routes: list[Route], nobody: Caller) -> None:
    closed = [route for route in routes if route.access != "public"]
    assert answers(closed, nobody) == names(closed, 401)


@pytest.mark.parametrize("token", ["x", "cbu_abcdefghijkl." + "x" * 43, "\x80", "cbu_", "Bearer"])
def test_it_answers_401_to_a_token_that_does_not_hold(routes: list[Route], nobody: Caller, token: str) -> None:
    closed = of(routes, "viewer", "operator", "admin")
    assert answers(closed, Caller(nobody.client, token)) == names(closed, 401)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "cbu_x", "Bearer  ", "bearer\tx"])
def test_it_answers_401_to_an_odd_header(nobody: Caller, header: str) -> None:
    answer = nobody.get("/api/v1/projects", headers={"Authorization": header})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_it_answers_403_to_a_token_of_another_kind(routes: list[Route], callers: Callers) -> None:
    for own, others in {
        "host": ("join", "viewer"),
        "leave": ("join", "viewer"),
        "beat": ("join", "viewer"),
        "join": ("host", "viewer"),
        "agentless": ("host",),
    }.items():
        for other in others:
            assert answers(of(routes, own), callers[other]) == names(of(routes, own), 403)
    people = of(routes, "viewer", "operator", "admin")
    for other in ("host", "join"):
        assert answers(people, callers[other]) == names(people, 403)


def test_it_answers_403_to_a_role_that_does_not_reach(routes: list[Route], callers: Callers) -> None:
    assert answers(of(routes, "operator", "agentless"), callers["viewer"]) == names(
        of(routes, "operator", "agentless"), 403
    )
    assert answers(of(routes, "admin"), callers["operator"]) == names(of(routes, "admin"), 403)


def test_it_checks_the_caller_before_the_body(routes: list[Route], nobody: Caller) -> None:
    for route in routes:
        if route.schema and route.access != "public":
            answer = nobody.client.open(route.url(), method=route.method, data=b"{", content_type="text/plain")
            assert (route.name, answer.status_code) == (route.name, 401)


def with_body(route: Route) -> bool:
    """Whether an empty object is refused before the route looks for the thing."""
    return bool(route.schema and route.schema.get("required"))


def test_it_answers_404_about_things_that_do_not_exist(routes: list[Route], callers: Callers) -> None:
    other = {"project": "nothing", "stage": "nothing", "host": "nothing", "run": "99", "user": "nobody", "other": "99"}
    about = [
        route
        for route in routes
        if "<" in route.rule and route.access not in ("public", "signed") and not with_body(route)
    ]
    for route in about:
        answer = callers[route.access].send(route.method, route.url(**other), {})
        assert (route.name, answer.status_code) == (route.name, 404)


def test_it_answers_404_about_another_project(routes: list[Route], stranger: Caller) -> None:
    words = ("<project>", "<host>", "<int:run>")
    about = [route for route in routes if any(word in route.rule for word in words) and not with_body(route)]
    about = [route for route in about if route.access not in ("host", "beat", "join", "signed")]
    assert len(about) > 20
    assert answers(about, stranger) == names(about, 404)


def test_it_says_the_same_about_what_is_hidden_and_what_is_not_there(
    stranger: Caller, admin: Caller, web_1: Machine, routes: list[Route]
) -> None:
    for path, hidden, absent in (
        ("/api/v1/projects/{}", "shop", "nothing"),
        ("/api/v1/stages/{}/production", "shop", "nothing"),
        ("/api/v1/hosts/{}", web_1.host_id, "nothing"),
        ("/api/v1/runs/{}", "1", "99"),
    ):
        told = [stranger.get(path.format(name)).json["detail"].replace(name, "") for name in (hidden, absent)]
        assert told[0] == told[1]
        assert admin.get(path.format(hidden)).status_code == 200


def test_it_hides_other_projects_in_lists(stranger: Caller, run: object, stage: Stage) -> None:
    assert stranger.get("/api/v1/projects").json["items"] == []
    assert stranger.get("/api/v1/runs").json["items"] == []
    assert stranger.get("/api/v1/runs?stage=shop/production").status_code == 404
    launched = stranger.post("/api/v1/runs", {"stage": "shop/production", "kind": "deploy"})
    assert launched.status_code == 404


def test_it_lets_an_admin_of_some_projects_manage_no_people_and_no_tokens(stranger: Caller, stage: Stage) -> None:
    body = {"name": "mine", "role": "admin", "password": "correct horse"}
    assert stranger.post("/api/v1/tokens", {"name": "mine", "role": "admin"}).status_code == 403
    assert stranger.post("/api/v1/users", body).status_code == 403
    assert stranger.patch("/api/v1/users/grace", {"role": "admin"}).status_code == 403
    for path in ("users", "tokens"):
        assert stranger.get(f"/api/v1/{path}").status_code == 403
    assert stranger.delete(f"/api/v1/tokens/{ApiToken.get().id}").status_code == 403


def test_it_lets_an_admin_of_some_projects_add_only_those(stranger: Caller, stage: Stage) -> None:
    source = "https://git.example.org/x.git"
    assert stranger.post("/api/v1/projects", {"name": "other", "source": source}).status_code == 403
    assert stranger.post("/api/v1/projects", {"name": "blog", "source": source}).status_code == 201


def test_it_forgets_a_token_at_once(admin: Caller, clock: FakeClock) -> None:
    row, token = api_tokens.create("ci", role="viewer", projects=None, actor=ADA, at=clock.now())
    assert Caller(admin.client, token).get("/api/v1/whoami").status_code == 200
    assert admin.delete(f"/api/v1/tokens/{row.id}").status_code == 204
    assert Caller(admin.client, token).get("/api/v1/whoami").status_code == 401


def test_it_takes_no_session_for_a_change(app: Flask) -> None:
    """A browser's session may read the API; a form of another site must not change anything through it."""
    assert app.test_client().post("/api/v1/projects", json={}).status_code == 401


def test_it_refuses_a_route_that_declares_nothing(admin: Caller, settings: Settings) -> None:
    own = create_app(settings)
    own.view_functions["projects.list_projects"] = lambda **_: {}
    assert Caller(own.test_client(), admin.token).get("/api/v1/projects").status_code == 403
