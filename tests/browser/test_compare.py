"""Repeating and comparing runs, what they froze, and where variables come from."""

import re

import pytest
from playwright.sync_api import expect

STATUS = "#run-status"


@pytest.fixture
def two_runs(service):
    """Two deploys of shop/production that have ended."""
    for number in (service.first, service.first + 1):
        service.wait_for_run(number, "successful", seconds=60)
    return service.first, service.first + 1


@pytest.mark.parametrize(("choice", "words"), [("exactly", "exactly"), ("on who is live now", "on who is live now")])
def test_a_run_is_repeated_from_its_page(browse, service, two_runs, choice, words):
    page = browse(f"/runs/{two_runs[0]}")
    page.locator("#repeat-menu summary").click()
    page.locator("#repeat-menu").get_by_label(choice).check()
    page.get_by_label("Comment").fill("once more")
    page.get_by_role("button", name="Repeat on shop/production").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+$"))
    expect(page.locator(STATUS)).to_contain_text("successful", timeout=60_000)
    expect(page.locator(".cb-run-note")).to_contain_text(f"repeats run {two_runs[0]} {words}")
    run = service.call("GET", f"/runs/{page.url.rsplit('/', 1)[1]}")
    assert (run["comment"], run["release"], run["created_by"]) == ("once more", 1, "ada")


def test_a_refused_repeat_says_why(browse, service, two_runs):
    page = browse(f"/runs/{two_runs[0]}")
    page.locator("#repeat-menu summary").click()
    page.locator("#repeat-menu [name=mode][value=exact]").evaluate("field => field.value = 'roughly'")
    page.get_by_role("button", name="Repeat on shop/production").click()
    expect(page.get_by_role("alert")).to_contain_text("'roughly' is no way to repeat a run")


def test_two_runs_stand_side_by_side(browse, two_runs):
    first, second = two_runs
    page = browse(f"/runs/{second}")
    page.locator("#compare-menu summary").click()
    page.get_by_label(f"Compare run {second} with run").fill(str(first))
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile(rf"/runs/{first}/diff/{second}$"))
    expect(page.locator("h1")).to_have_text(f"Run {first} and run {second}")
    expect(page.get_by_text("Both have the same commit.")).to_be_visible()
    row = page.locator(".cb-tasks tbody tr").filter(has_text="First words")
    expect(row).to_contain_text("2 ok")
    row.locator("summary").click()
    expect(row.locator("li")).to_have_count(2)
    expect(row.locator("li").first).to_contain_text("web-1")


def test_hostile_text_stays_text_in_a_comparison(browse, service):
    other = service.run(stage="shop/fails", kind="playbook", playbook="fails.yml", extra_vars={"x": "<i>b</i>"})
    service.wait_for_run(other, "failed", seconds=60)
    service.wait_for_run(service.failing, "failed", seconds=60)
    page = browse(f"/runs/{service.failing}/diff/{other}")
    expect(page.locator(".cb-pairs").first).to_contain_text("<i>b</i>")
    page.goto(f"{service.url}/runs/{other}/snapshot")
    expect(page.locator(".cb-variables")).to_contain_text("<i>b</i>")
    assert page.locator(".cb-variables i").count() == 0


def test_a_snapshot_tells_everything_that_was_frozen(browse, two_runs):
    page = browse(f"/runs/{two_runs[0]}")
    page.get_by_role("link", name="Everything that was frozen").click()
    expect(page).to_have_url(re.compile("/snapshot$"))
    expect(page.locator("main")).to_contain_text("ansible.builtin")
    expect(page.locator(".cb-variables")).to_contain_text("callboard_release")


def test_variables_show_what_they_override(browse, service):
    service.call("PATCH", "/projects/secret", {"variables": {"colour": "blue"}})
    service.call(
        "PATCH", "/stages/secret/production", {"variables": {"colour": "red", "key": {"$secret": "api"}, "text": ""}}
    )
    page = browse("/stages/secret/production", who="admin")
    page.get_by_role("link", name="Variables").click()
    rows = page.locator(".cb-variables tbody tr")
    expect(rows.filter(has_text="colour")).to_contain_text("red")
    expect(page.locator(".cb-variables s")).to_have_text(re.compile("blue"))
    expect(rows.filter(has_text="key")).to_contain_text("secret api")


def test_a_viewer_compares_and_does_not_repeat(browse, two_runs):
    page = browse(f"/runs/{two_runs[0]}", who="vic")
    expect(page.locator("#compare-menu")).to_be_visible()
    expect(page.locator("#repeat-menu")).to_have_count(0)
