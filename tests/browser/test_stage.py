import re
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import expect

from tests.browser.conftest import confirm


def rows(page):
    return page.locator("#hosts tbody tr")


def test_it_holds_500_hosts_and_finds_one(browse, service):
    page = browse("/stages/shop/fleet")
    expect(rows(page)).to_have_count(500)
    page.get_by_label("Part of a name").fill("web-49")
    expect(rows(page)).to_have_count(10)
    expect(page).to_have_url(re.compile(r"\?q=web-49"))
    expect(page.get_by_role("status").filter(has_text="10 of 500 hosts shown")).to_be_visible()
    page.reload()
    expect(rows(page)).to_have_count(10)


def test_it_keeps_filter_and_scroll_while_it_refreshes(browse):
    page = browse("/stages/shop/fleet")
    page.locator("#hosts-scroll").evaluate("box => box.scrollTop = 4000")
    page.evaluate("document.querySelector('#hosts tbody tr').isTheSame = true")
    page.evaluate("addEventListener('htmx:after:swap', () => { document.documentElement.dataset.refreshed = 'yes' })")
    page.evaluate("document.querySelector('[data-poll]').dispatchEvent(new CustomEvent('every'))")
    expect(page.locator("html")).to_have_attribute("data-refreshed", "yes", timeout=15_000)
    assert page.locator("#hosts-scroll").evaluate("box => box.scrollTop") == 4000
    assert page.evaluate("document.querySelector('#hosts tbody tr').isTheSame")


def test_a_silent_host_becomes_stale_without_a_reload(browse, pulse):
    loud, silent = pulse.names
    page = browse("/stages/shop/pulse")
    row = rows(page).filter(has_text=silent)
    expect(row).to_contain_text("live")
    pulse.stop(silent)
    expect(row).to_contain_text("stale", timeout=25_000)
    expect(rows(page).filter(has_text=loud)).to_contain_text(re.compile("live|late"))
    page.get_by_label(re.compile("^stale")).check(force=True)
    expect(rows(page).filter(has_text=loud)).to_have_count(0)
    expect(row).to_have_count(1)


def test_it_says_of_a_silent_host_what_to_do(browse, pulse):
    silent = pulse.names[1]
    pulse.stop(silent)
    page = browse("/stages/shop/pulse")
    expect(rows(page).filter(has_text=silent)).to_contain_text("stale", timeout=25_000)
    page.get_by_role("link", name=silent).click()
    expect(page.locator("#silence-banner")).to_contain_text("After 2 s it left the inventory; one heartbeat brings it")
    expect(page.get_by_text("Stale since")).to_be_visible()


def test_each_page_of_a_stage_leads_to_the_others(browse):
    page = browse("/stages/shop/empty", who="admin")
    tabs = page.get_by_role("navigation", name="Pages of shop/empty").get_by_role("link")
    for word in tabs.all_inner_texts():
        tabs.get_by_text(word).click()
        expect(tabs.and_(page.locator("[aria-current=page]"))).to_have_text(word)
    assert page.url.endswith("/stages/shop/empty/settings")


def test_it_locks_and_unlocks_with_a_reason(browse, service):
    page = browse("/stages/shop/locks")
    page.locator("#lock-menu summary").click()
    page.get_by_label("Why is nothing to be deployed?").fill("database migration")
    page.get_by_role("button", name="Lock shop/locks").click()
    banner = page.locator("#lock-banner")
    expect(banner).to_contain_text("Locked by ada")
    expect(banner).to_contain_text("database migration")
    viewer = browse("/stages/shop/locks", who="vic")
    expect(viewer.locator("#lock-banner")).to_contain_text("database migration")
    expect(viewer.get_by_role("button", name="Unlock")).to_have_count(0)
    page.get_by_role("button", name="Unlock").click()
    expect(banner).to_have_count(0)


def test_it_tells_the_next_step_where_no_host_is(browse, service):
    page = browse("/stages/shop/empty")
    expect(page.get_by_role("heading", name="No hosts yet")).to_be_visible()
    expect(page.get_by_text("callboard join-token add shop/empty")).to_be_visible()
    expect(page.get_by_text(f"enrol --url {service.url}")).to_be_visible()


def test_it_makes_a_join_token_that_holds(browse, service):
    page = browse("/stages/shop/locks")
    page.get_by_label("Groups of the machines").fill("web blue")
    page.get_by_role("button", name="Make a join token").click()
    token = page.get_by_label("The join token").inner_text()
    service.enrol(token, "joined", "127.0.0.1")
    page.goto(f"{service.url}/stages/shop/locks")
    expect(rows(page).filter(has_text="joined")).to_contain_text("blue")


def test_it_keeps_what_was_typed_beside_the_error(browse):
    page = browse("/stages/shop/production?revision=v1&comment=SHOP-7&limit=web-1")
    expect(page.locator("#deploy-revision")).to_have_value("v1")
    expect(page.locator("#deploy-limit")).to_have_value("web-1")
    page.locator("#deploy-limit").fill("@/etc/passwd")
    page.get_by_role("button", name="Deploy to shop/production").click()
    expect(page.get_by_role("alert")).to_contain_text("is not accepted in a limit")
    expect(page.locator("#deploy-limit")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Comment").first).to_have_value("SHOP-7")


def test_it_refuses_at_a_locked_stage_when_asked_to(browse, service):
    service.call("PUT", "/stages/shop/fails/lock", {"reason": "hands off"})
    page = browse("/stages/shop/fails")
    page.get_by_text("Limit, check mode, waiting").first.click()
    page.get_by_label("refuse").first.check()
    page.get_by_role("button", name="Deploy to shop/fails").click()
    expect(page.get_by_role("alert")).to_contain_text("is locked by token:first-start: hands off")
    expect(page.get_by_label("refuse").first).to_be_checked()
    page.get_by_text("Override the lock").first.click()
    page.get_by_label("Why does it not hold for this run?").first.fill("the shop is down")
    with page.expect_navigation():
        page.get_by_role("button", name="Deploy to shop/fails").click()
    expect(page.locator(".cb-run-note")).to_contain_text("overrides the lock: the shop is down")
    service.call("DELETE", "/stages/shop/fails/lock")


def test_it_shows_paused_expiry_and_lets_people_end_it(browse, service):
    token = service.join_token("shop/quake")
    hosts = [service.enrol(token, f"web-{number}", f"10.7.0.{number + 1}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:  # their last words come at the same moment, however long they took to enrol
        list(pool.map(service.beat, hosts))
    page = browse("/stages/shop/quake")
    expect(page.locator("#expiry-banner")).to_contain_text("fell silent within one ttl", timeout=15_000)
    page.get_by_role("button", name="Deploy to shop/quake").click()
    expect(page.get_by_role("alert")).to_contain_text("is paused")
    expect(page.get_by_label("Run although expiry is paused").first).not_to_be_checked()
    page.get_by_role("button", name="They are gone").click()
    expect(page.get_by_role("dialog")).to_contain_text("late hosts of shop/quake?")
    confirm(page, "They are gone")
    expect(page.locator("#expiry-banner")).to_have_count(0)
    expect(rows(page).first).to_contain_text("stale")


def test_it_drains_a_host_and_takes_that_back(browse):
    page = browse("/stages/shop/fleet?q=web-007")
    page.get_by_role("link", name="web-007").click()
    page.get_by_role("button", name="Drain").click()
    expect(page.get_by_text("draining", exact=True)).to_be_visible()
    page.get_by_role("button", name="End draining").click()
    expect(page.get_by_text("draining", exact=True)).to_have_count(0)


def test_it_says_what_stands_in_the_way_of_a_deploy(browse):
    page = browse("/stages/shop/empty")
    expect(page.locator("#deploy-check")).to_contain_text("No host of the stage is live")
    page.locator("#deploy-revision").fill("v9")
    page.locator("#deploy-comment").focus()
    expect(page.locator("#deploy-check")).to_contain_text("no revision 'v9'")
