import re

from playwright.sync_api import expect


def test_it_shows_each_stage_with_its_hosts(browse):
    page = browse("/")
    row = page.get_by_role("link", name="fleet")
    expect(row).to_contain_text("500 live")
    expect(row).to_contain_text("no release")
    row.click()
    expect(page.get_by_role("heading", name="shop / fleet")).to_be_visible()


def test_it_shows_that_a_stages_last_run_failed(browse, service):
    service.wait_for_run(service.failing, "failed", seconds=60)
    page = browse("/")
    expect(page.locator(".cb-stage-row", has_text="fails")).to_contain_text(re.compile(r"run \d+ failed"))
    expect(page.locator(".cb-stage-row", has_text="fleet")).not_to_contain_text("failed")


def test_it_shows_a_lock_without_a_reload(browse, service):
    page = browse("/")
    row = page.get_by_role("link", name="locks")
    expect(row).not_to_contain_text("locked")
    service.call("PUT", "/stages/shop/locks/lock", {"reason": "index rebuild"})
    expect(row).to_contain_text("locked", timeout=8000)
    service.call("DELETE", "/stages/shop/locks/lock")


def test_it_follows_the_system_theme_until_told_otherwise(browse):
    page = browse("/", color_scheme="dark")
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.evaluate("localStorage.clear()")  # the browser's context is shared with other tests
