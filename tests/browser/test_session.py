import re
import urllib.parse

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import sign_in
from tests.browser.service import PASSWORD


def test_it_asks_to_sign_in_and_leads_back(browse, service):
    page = browse("/runs?kind=deploy", who=None)
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/runs(\?|%3F)kind%3Ddeploy"))
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{service.url}/runs?kind=deploy")


def test_it_rejects_a_wrong_password_and_keeps_the_name(browse, service):
    page = browse("/sign-in", who=None)
    sign_in(page, service, "ada", "wrong password")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is not right.")
    expect(page.get_by_label("Name")).to_have_value("ada")
    expect(page.get_by_label("Password")).to_be_focused()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "/\t/evil.example"])
def test_it_rejects_leading_to_another_site(browse, service, target):
    page = browse(f"/sign-in?next={urllib.parse.quote(target)}", who="ada")
    expect(page).to_have_url(f"{service.url}/")


def test_it_signs_out(browse, service):
    page = browse("/", who=None)
    sign_in(page, service, "ada")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{service.url}/sign-in")
    page.goto(f"{service.url}/runs")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_it_ends_the_session_of_a_disabled_user(browse, service):
    service.user("eve", "viewer")
    page = browse("/", who="eve")
    expect(page.get_by_text("viewer")).to_be_visible()
    service.call("PATCH", "/users/eve", {"disabled": True})
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible(timeout=8000)


def test_it_slows_down_who_guesses_passwords(browse, service):
    page = browse("/sign-in", who=None, extra_http_headers={"X-Forwarded-For": "203.0.113.9"})
    token = page.locator("input[name=csrf_token]").get_attribute("value")
    form = {"name": "ada", "password": "guess", "csrf_token": token}
    answers = [page.request.post(f"{service.url}/sign-in", form=form).status for _ in range(11)]
    assert answers == [401] * 10 + [429]


def test_it_refuses_a_form_without_its_token(browse, service):
    page = browse("/stages/shop/empty")
    answer = page.request.post(f"{service.url}/stages/shop/empty/lock", form={"reason": "forged"})
    assert answer.status == 400
    page.reload()
    expect(page.locator("#lock-banner")).to_have_count(0)


def test_a_viewer_sees_and_changes_nothing(browse, service):
    page = browse("/stages/shop/production", who="vic")
    expect(page.get_by_role("heading", name="shop / production")).to_be_visible()
    for name in ("Deploy", "Lock", "Roll back", "Make a join token"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    token = page.locator("input[name=csrf_token]").first.get_attribute("value")
    for path in ("runs", "lock", "unlock", "join-tokens"):
        form = {"csrf_token": token, "kind": "deploy", "reason": "because"}
        assert page.request.post(f"{service.url}/stages/shop/production/{path}", form=form).status == 403
    assert service.call("GET", "/runs?user=vic")["items"] == []


def test_it_hides_projects_of_others(browse, service):
    page = browse("/", who="sam")
    expect(page.get_by_role("heading", name="shop")).to_be_visible()
    expect(page.get_by_role("heading", name="secret")).to_have_count(0)
    assert page.goto(f"{service.url}/stages/secret/production").status == 404
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
