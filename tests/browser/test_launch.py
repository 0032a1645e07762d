"""Launching from the stage's page: what playbooks ask, settings of runs, convergence now."""

import getpass

import pytest
from playwright.sync_api import expect

CANARY = "tweet-0815"
PATIENT = {"interval_seconds": 1800, "ttl_seconds": 3600}


@pytest.fixture(scope="module")
def till(service):
    """The stage shop/till, with a machine that runs work on."""
    service.stage("shop/till", ansible_user=getpass.getuser(), **PATIENT, deploy_playbook="charge.yml")
    service.ssh_host("shop/till", "web-1", "127.0.90.21")
    return "/stages/shop/till"


def test_a_link_fills_in_a_playbooks_prompts_but_no_secret(browse, service, till):
    page = browse(
        f"{till}?playbook=charge.yml&prompt.amount=5&prompt.regions=eu&prompt.regions=asia&prompt.pin={CANARY}"
    )
    expect(page.locator("#playbook-playbook")).to_have_value("charge.yml")
    asked = page.locator("#playbook-prompts")
    expect(asked.get_by_label("How much?")).to_have_value("5")
    ticked = [asked.get_by_label(name, exact=True).is_checked() for name in ("eu", "us", "asia")]
    assert ticked == [True, False, True]
    expect(asked.get_by_label("PIN of the till")).to_have_value("")
    assert CANARY not in page.content()
    asked.get_by_label("PIN of the till").fill(CANARY)
    asked.get_by_label("Why now?").fill("it is payday")
    with page.expect_navigation():
        page.get_by_role("button", name="Run it on shop/till").click()
    number = int(page.url.rpartition("/")[2])
    service.wait_for_run(number, "successful")
    assert "6 eu+asia ******** it is payday" in service.call("GET", f"/runs/{number}/log")
    page.get_by_role("link", name="Run again").click()
    expect(page.locator("#playbook-prompts").get_by_label("Why now?")).to_have_value("it is payday")
    assert CANARY not in page.content()
    page.goto(f"{service.url}/runs/{number}")
    page.get_by_text("Repeat", exact=True).click()
    page.get_by_label("pin", exact=True).fill(CANARY)
    with page.expect_navigation():
        page.get_by_role("button", name="Repeat on shop/till").click()
    repeated = int(page.url.rpartition("/")[2])
    service.wait_for_run(repeated, "successful")
    assert "6 eu+asia ******** it is payday" in service.call("GET", f"/runs/{repeated}/log")


def test_it_keeps_answers_beside_what_is_wrong_but_no_secret(browse, till):
    page = browse(f"{till}?playbook=charge.yml&prompt.amount=5000")
    page.locator("#playbook form").evaluate("form => { form.noValidate = true }")
    page.locator("#playbook").get_by_label("PIN of the till").fill(CANARY)
    page.locator("#playbook").get_by_text("Extra vars").first.click()
    page.locator("#playbook-extra-vars").fill("size: 3")
    with page.expect_navigation():
        page.get_by_role("button", name="Run it on shop/till").click()
    asked = page.locator("#playbook-prompts")
    expect(asked.get_by_label("How much?")).to_have_value("5000")
    expect(asked.get_by_role("alert").first).to_contain_text("Wanted: integer, at most 1000")
    expect(asked.get_by_role("alert").last).to_contain_text("Required: text")
    expect(asked.get_by_label("PIN of the till")).to_have_value("")
    expect(page.locator("#playbook-extra-vars")).to_have_value("size: 3")
    assert CANARY not in page.content()


def test_it_asks_for_what_the_chosen_playbook_asks(browse, till):
    page = browse(till)
    page.locator("#deploy-revision").focus()
    expect(page.locator("#deploy-prompts").get_by_label("How much?")).to_be_visible()
    page.locator("#playbook summary").first.click()
    expect(page.locator("#playbook-list option[value='charge.yml']")).to_have_count(1)
    page.locator("#playbook-playbook").fill("slow.yml")
    page.locator("#playbook-revision").focus()
    expect(page.locator("#playbook-check")).to_contain_text("Nothing stands in the way")
    expect(page.locator("#playbook-prompts")).not_to_contain_text("asks")
    page.locator("#playbook-playbook").fill("charge.yml")
    page.locator("#playbook-revision").focus()
    expect(page.locator("#playbook-prompts").get_by_label("Why now?")).to_be_visible()
    page.locator("#playbook-playbook").fill("no-such.yml")
    page.locator("#playbook-revision").focus()
    expect(page.locator("#playbook-check")).to_contain_text("has no playbook")


def test_it_refuses_extra_vars_that_are_none(browse, till):
    page = browse(f"{till}?playbook=slow.yml")
    page.locator("#playbook").get_by_text("Extra vars").first.click()
    page.locator("#playbook-extra-vars-secret").fill(f"- {CANARY}")
    with page.expect_navigation():
        page.get_by_role("button", name="Run it on shop/till").click()
    expect(page.locator("#playbook").get_by_role("alert").first).to_contain_text("no names with values")
    assert CANARY not in page.content()


def save(page):
    with page.expect_navigation():
        page.get_by_role("button", name="Save").click()


def test_an_admin_changes_how_runs_go(browse, service, till):
    page = browse(f"{till}/settings", who="admin")
    page.get_by_label("Batches").fill("1, 25%")
    page.get_by_label("Minimum healthy").fill("75 percent")
    page.get_by_label("Run, in seconds").fill("600")
    page.get_by_label("Roll back by itself").check()
    save(page)
    expect(page.get_by_role("alert")).to_contain_text("no amount of hosts")
    expect(page.get_by_label("Batches")).to_have_value("1, 25%")
    page.get_by_label("Minimum healthy").fill("75%")
    save(page)
    expect(page.get_by_text("The settings were saved.")).to_be_visible()
    for words in ("1, 25%, the last one repeated", "rolled back by itself", "75%", "10 min"):
        expect(page.locator("#batches")).to_contain_text(words)
    kept = service.call("GET", "/stages/shop/till")
    names = ("batches", "minimum_healthy", "run_timeout_seconds", "idle_timeout_seconds", "auto_rollback", "converge")
    assert [kept[name] for name in names] == [[1, "25%"], "75%", 600, 0, True, True]
    viewer = browse(f"{till}/settings", who="vic")
    expect(viewer.get_by_label("Batches")).to_be_disabled()
    expect(viewer.get_by_role("button", name="Save")).to_have_count(0)


def test_an_admin_changes_how_machines_are_heard(browse, service):
    service.stage("shop/kiosk", interval_seconds=60, ttl_seconds=300)
    page = browse("/stages/shop/kiosk/settings", who="admin")
    expect(page.get_by_label("Heartbeat every")).to_have_value("60")
    page.get_by_label("Heartbeat every").fill("200")
    page.get_by_label("User").fill("deploy")
    page.get_by_label("New machines wait").check()
    save(page)
    expect(page.get_by_role("alert")).to_contain_text("at least twice the interval")
    page.get_by_label("Stale after").fill("99999")
    save(page)
    expect(page.get_by_role("alert")).to_contain_text("the most is 86400 s")
    page.get_by_label("Stale after").fill("600")
    save(page)
    kept = service.call("GET", "/stages/shop/kiosk")
    names = ("interval_seconds", "ttl_seconds", "ansible_user", "approval", "agentless")
    assert [kept[name] for name in names] == [200, 600, "deploy", True, False]


def test_it_converges_now(browse, service):
    service.stage("shop/newcomers", ansible_user=getpass.getuser(), **PATIENT)
    service.ssh_host("shop/newcomers", "web-1", "127.0.90.22")
    first = service.run(stage="shop/newcomers", kind="deploy")
    service.wait_for_run(first, "successful")
    page = browse("/stages/shop/newcomers")
    expect(page.get_by_text("Converge now")).to_have_count(0)
    service.ssh_host("shop/newcomers", "web-2", "127.0.90.23")
    page.get_by_text("Converge now").click(timeout=20_000)
    with page.expect_navigation():
        page.get_by_role("button", name="Converge shop/newcomers").click()
    number = int(page.url.rpartition("/")[2])
    run = service.wait_for_run(number, "successful")
    assert (run["kind"], [host["host"] for host in run["hosts"]]) == ("converge", ["web-2"])
