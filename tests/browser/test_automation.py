import re

from playwright.sync_api import expect

from tests.browser.conftest import confirm

PATH = "/stages/shop/empty/automation"


def test_an_operator_adds_pauses_and_removes_a_schedule(browse):
    page = browse(PATH)
    page.get_by_text("Add a schedule").click()
    page.get_by_label("Name").fill("nightly")
    page.get_by_label("When, as in crontab").fill("61 * * * *")
    page.get_by_label("Playbook").fill("deploy.yml")
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.get_by_role("alert")).to_contain_text("no crontab expression")
    expect(page.get_by_label("Name")).to_have_value("nightly")
    page.get_by_label("When, as in crontab").fill("30 2 * * *")
    page.get_by_role("button", name="Add the schedule").click()
    row = page.locator("#schedule-nightly")
    expect(row).to_contain_text(re.compile(r"next in .*,\s+20\S+ 02:30:00 UTC"))
    expect(page.get_by_role("status").filter(has_text="The schedule nightly was added.")).to_be_visible()
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")
    expect(page.get_by_text("was added")).to_have_count(0)
    row.get_by_role("button", name="Remove").click()
    question = page.get_by_role("dialog")
    expect(question).to_contain_text("Remove the schedule nightly?")
    question.get_by_role("button", name="Keep it").click()
    expect(question).to_have_count(0)
    row.get_by_role("button", name="Remove").click()
    confirm(page, "Remove")
    expect(page.get_by_text("The schedule nightly was removed.")).to_be_visible()
    expect(page.get_by_text("No schedules yet")).to_be_visible()


def test_an_admin_adds_a_webhook_and_sees_its_secret_once(browse):
    page = browse(PATH, who="admin")
    page.get_by_text("Add a webhook").click()
    page.get_by_label("Branches and tags that deploy").fill("branch:main tag:v*")
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.get_by_text("whsec_")).to_be_visible()
    page.get_by_role("link", name="Back").click()
    expect(page.locator("#webhooks")).to_contain_text("branch:main")
    expect(page.get_by_text("whsec_")).to_have_count(0)
    page.locator("#webhooks").get_by_role("button", name="Remove").click()
    confirm(page, "Remove")
    expect(page.get_by_text("No webhooks yet")).to_be_visible()


def test_an_admin_sees_that_a_test_message_was_not_taken(browse):
    page = browse(PATH, who="admin")
    page.get_by_text("Add a notification").click()
    page.get_by_label("Apprise URL").fill("json://127.0.0.1:1/s3cret")
    page.get_by_label("Description").last.fill("#deploys")
    page.get_by_role("button", name="Add the notification").click()
    expect(page.locator("#notifications")).to_contain_text("#deploys")
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_role("alert")).to_contain_text("was not taken")
    expect(page.get_by_text("s3cret")).to_have_count(0)
    page.locator("#notifications").get_by_role("button", name="Remove").click()
    confirm(page, "Remove")
    expect(page.get_by_text("No notifications yet")).to_be_visible()


def test_an_operator_manages_no_webhooks(browse):
    page = browse(PATH)
    expect(page.get_by_text("No webhooks yet")).to_be_visible()
    expect(page.get_by_text("Add a webhook")).to_have_count(0)
