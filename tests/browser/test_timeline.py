import datetime as dt
import re

from playwright.sync_api import expect

from tests.browser.service import wait_for
from tests.browser.test_pages import TROUBLE

PHONE = {"viewport": {"width": 390, "height": 844}}


def state_of(service, stage, name):
    hosts = service.call("GET", f"/stages/{stage}/hosts?state=live,late,stale,pending")["items"]
    return next((host["state"] for host in hosts if host["name"] == name), None)


def ask(page, moment):
    page.get_by_label("Date and time, UTC").fill(moment.strftime("%Y-%m-%dT%H:%M:%S"))
    page.get_by_role("button", name="Ask").click()


def test_it_draws_a_host_that_fell_silent_and_came_back(browse, service):
    service.stage("shop/return", interval_seconds=1, ttl_seconds=2)
    token = service.enrol(service.join_token("shop/return"), "web-1", "10.8.0.1")
    wait_for(lambda: state_of(service, "shop/return", "web-1") == "stale", "it did not become stale", seconds=25)
    service.beat(token)
    page = browse("/stages/shop/return")
    page.get_by_role("link", name="Who was here").click()
    plot = page.locator(".cb-timeline-plot")
    expect(plot.locator("rect.cb-timeline-live")).to_have_count(2)
    stale = plot.locator("rect.cb-timeline-stale").first
    expect(stale).to_be_visible()
    expect(stale.locator("title")).to_have_text(re.compile(r"^web-1: stale from 20\S+ \S+ UTC to 20\S+ \S+ UTC$"))
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table").get_by_role("row").filter(has_text="stale").first).to_contain_text("web-1")


def test_it_answers_who_was_there(browse, service):
    page = browse("/stages/shop/fleet/timeline?hours=1")
    expect(page.locator(".cb-timeline-names li")).to_have_count(500)
    now = dt.datetime.now(dt.UTC)
    ask(page, now)
    expect(page.get_by_text("500 hosts were there")).to_be_visible()
    expect(page.get_by_label("Hosts that were there").get_by_role("listitem")).to_have_count(500)
    expect(page.locator(".cb-timeline-mark")).to_have_count(1)
    ask(page, now - dt.timedelta(days=1))
    expect(page.get_by_text("Nobody was there")).to_be_visible()
    for wrong, words in ((dt.timedelta(days=1), "lies in the future"), (dt.timedelta(days=-400), "too long ago")):
        ask(page, now + wrong)
        expect(page.get_by_role("alert")).to_contain_text(words)
        expect(page.get_by_label("Date and time, UTC")).to_have_attribute("aria-invalid", "true")


def test_it_fits_a_phone(browse, service):
    page = browse("/stages/shop/empty/timeline", **PHONE)
    expect(page.get_by_role("heading", name="Nobody was here")).to_be_visible()
    at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for query in ("hours=168", f"hours=6&at={at}", "at=yesterday"):
        page.goto(f"{service.url}/stages/shop/fleet/timeline?{query}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, query
        assert page.locator(".cb-timeline-plot").bounding_box()["width"] > 200, query
        assert page.evaluate(TROUBLE) == [], query


def test_an_operator_lets_a_pending_host_in(browse, service):
    service.stage("shop/door", interval_seconds=1800, ttl_seconds=3600, approval=True)
    service.enrol(service.join_token("shop/door"), "web-1", "10.8.1.1")
    viewer = browse("/stages/shop/door", who="vic")
    viewer.get_by_role("link", name="web-1").click()
    expect(viewer.locator("#approval-banner")).to_contain_text("Waiting for approval")
    expect(viewer.get_by_role("button", name="Approve")).to_have_count(0)
    page = browse(viewer.url.removeprefix(service.url))
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("#approval-banner")).to_have_count(0)
    expect(page.get_by_role("cell", name="approved by ada")).to_be_visible()
    assert state_of(service, "shop/door", "web-1") == "live"
