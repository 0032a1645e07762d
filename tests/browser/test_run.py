import re
import sqlite3
from pathlib import Path

from playwright.sync_api import expect

STATUS = "#run-status"


def deploy(page, stage):
    page.get_by_role("button", name=f"Deploy to {stage}").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+$"))
    return int(page.url.rsplit("/", 1)[1])


def test_a_deploy_goes_from_the_form_to_its_end(browse, service):
    page = browse("/stages/shop/production?comment=SHOP-1%20first")
    page.locator("#deploy-hosts summary").click()
    page.get_by_label("web-2").uncheck()
    run = deploy(page, "shop/production")
    expect(page.locator(STATUS)).to_contain_text("successful", timeout=30_000)
    expect(page.locator("#run-results tbody tr")).to_have_count(1)
    expect(page.locator("#run-results tbody tr")).to_contain_text("web-1")
    expect(page.get_by_text("SHOP-1 first")).to_be_visible()
    expect(page.locator("#run-said")).to_contain_text("The run has ended: successful.")
    with page.expect_download() as exported:
        page.get_by_role("link", name="JUnit").click()
    assert f"callboard run {run}" in Path(exported.value.path()).read_text()
    assert service.call("GET", f"/runs/{run}")["exclude"] == ["web-2"]
    assert service.call("GET", f"/runs/{run}")["created_by"] == "ada"


def test_hostile_output_is_only_text(browse, service, old_log):
    page = browse(f"/runs/{service.first}")
    expect(page.locator("#log")).to_contain_text("onerror=")
    expect(page.get_by_text("<i>hostile</i>")).to_be_visible()
    assert page.evaluate("window.hacked") is None
    assert page.locator("#log img, #log script, #log a").count() == 0


def test_terminal_tricks_are_inert(browse, service, old_log):
    """Colours are kept; links, half sequences, cursor moves and direction overrides are not."""
    old_log.write_bytes(
        b"\x1b[0;31mred\x1b[0m\n"
        b"\x1b]8;;javascript:window.hacked=1\x07click\x1b]8;;\x07 here\n"
        b"\x1b]8;;https://evil.example\x07safe?\x1b]8;;\x07\n"
        b"\x1b[\xc3\xa9 swallowed?\nline after\n"
        b"\x1b]8; open for ever\nand on\n"
        b"\x1b]0;title\x07\x1b[2J\x1b[H<b>bold</b>\xe2\x80\xae reversed\n"
        b"the end\n"
    )
    page = browse(f"/runs/{service.first}")
    box = page.locator("#log")
    expect(box).to_contain_text("the end")
    expect(box.locator(".ansi-red")).to_have_text("red")
    for text in ("click here", "swallowed?", "line after", "and on", "<b>bold</b>"):
        expect(box).to_contain_text(text)
    assert box.locator("a, b").count() == 0
    assert "\u202e" not in box.inner_text()
    assert page.evaluate("window.hacked") is None


def test_a_long_log_stays_fluid_and_lets_go_of_the_end(browse, service, old_log):
    old_log.write_text("".join(f"ok: [web-{n % 200}] line {n}\n" for n in range(60_000)))
    page = browse(f"/runs/{service.first}")
    box = page.locator("#log")
    expect(box).to_contain_text("line 59999", timeout=20_000)
    assert box.locator(".cb-log-block").count() <= 250
    follow = page.get_by_role("button", name="Follow")
    expect(follow).to_have_attribute("aria-pressed", "true")
    assert box.evaluate("box => box.scrollHeight - box.scrollTop - box.clientHeight") < 40
    box.hover()
    page.mouse.wheel(0, -600)
    expect(follow).to_have_attribute("aria-pressed", "false")
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")


def test_the_log_lives_and_cancel_ends_the_run(browse, service):
    page = browse("/stages/shop/slow")
    run = deploy(page, "shop/slow")
    expect(page.locator("#log")).to_contain_text("first words of the run", timeout=20_000)
    expect(page.locator(STATUS)).to_contain_text("running")
    expect(page.locator(".cb-now")).to_contain_text("Wait")
    expect(page.locator("#run-results tbody tr")).to_contain_text("ok")
    waiting = browse(f"/runs/{service.run(stage='shop/slow', kind='deploy')}")
    expect(waiting.locator("#run-waits")).to_contain_text(f"Waits for run {run} (deploy, running)")
    waiting.locator("#cancel-menu summary").click()
    waiting.get_by_role("button", name="Stop the run").click()
    expect(waiting.locator(STATUS)).to_contain_text("canceled")
    page.locator("#cancel-menu summary").click()
    page.get_by_role("button", name="Stop the run").click()
    expect(page.locator(STATUS)).to_contain_text("canceled", timeout=15_000)
    expect(page.locator("#run-error")).to_contain_text("Canceled")
    expect(page.locator("#cancel-menu")).to_have_count(0)


def test_a_failure_stands_on_top(browse, service):
    service.wait_for_run(service.failing, "failed")
    page = browse(f"/runs/{service.failing}")
    failure = page.locator(".cb-failure")
    expect(failure).to_contain_text("Reach the database")
    expect(failure).to_contain_text("<b>no route</b> to the database")
    expect(failure).to_contain_text("on 1 host: web-1")
    expect(page.locator("#run-error")).to_contain_text("1 of 1 hosts failed: web-1.")
    page.get_by_role("link", name="Deploy again").click()
    expect(page).to_have_url(re.compile("/stages/shop/fails"))


def test_it_searches_a_runs_events(browse, service):
    service.wait_for_run(service.first, "successful")
    page = browse(f"/runs/{service.first}")
    page.get_by_label("Text in events").fill("FIRST words")
    page.get_by_role("search", name="Events of this run").get_by_role("button").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_contain_text("first words of the run")
    page.get_by_label("Host").fill("web-1")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Text").fill("onerror=")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_contain_text("Say something hostile")
    assert page.evaluate("window.hacked") is None
    page.get_by_label("Result").select_option("failed")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="No event fits")).to_be_visible()


def test_it_says_that_an_old_log_was_removed(browse, service):
    run = service.run(stage="shop/empty", kind="deploy")
    service.wait_for_run(run, "failed")
    with sqlite3.connect(service.folder / "data" / "callboard.db", timeout=15) as database:
        database.execute("UPDATE run SET events_removed_at = created_at WHERE id = ?", [run])
    page = browse(f"/runs/{run}")
    expect(page.locator("#log-removed")).to_contain_text("were removed")
    expect(page.locator("#run-error")).to_contain_text("No hosts matched")


def test_it_rolls_back_from_the_page(browse, service):
    service.wait_for_run(service.first + 1, "successful")
    page = browse("/stages/shop/production")
    page.get_by_role("link", name="roll back to it").first.click()
    expect(page.locator("#rollback")).to_have_attribute("open", "")
    page.get_by_role("button", name="Roll back shop/production").click()
    expect(page.locator(STATUS)).to_contain_text("successful", timeout=30_000)
    expect(page.locator("h1")).to_contain_text("rollback")


def test_it_lists_and_filters_runs(browse, service):
    service.wait_for_run(service.failing, "failed")
    page = browse("/runs")
    page.get_by_label("Comment or revision").fill("needle")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("failed")
