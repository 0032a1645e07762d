from playwright.sync_api import expect

from tests.browser.conftest import confirm

CANARY = "canary-in-a-form"


def fill(page, name, value):
    page.get_by_label("Name").fill(name)
    page.get_by_label("Value").fill(value)
    page.get_by_label("Kind").select_option("file")
    with page.expect_navigation():
        page.get_by_role("button", name="Set the secret").click()


def test_it_sets_and_removes_a_secret_and_never_shows_it(browse, service):
    page = browse("/stages/shop/empty", who="admin")
    with page.expect_navigation():
        page.get_by_role("link", name="Secrets").click()
    page.get_by_text("Set a secret").click()
    fill(page, "no name", f"{CANARY}\nline two")
    expect(page.get_by_role("alert")).to_contain_text("no name for a secret")
    assert CANARY not in page.content()
    expect(page.get_by_label("Kind")).to_have_value("file")
    fill(page, "settings", f"{CANARY}\nline two\n")
    expect(page.locator("#secret-settings")).to_contain_text("set by admin")
    assert CANARY not in page.content()
    viewer = browse("/stages/shop/empty/secrets", who="vic")
    expect(viewer.locator("#secret-settings")).to_contain_text("file")
    expect(viewer.get_by_text("Set a secret")).to_have_count(0)
    page.get_by_role("button", name="Remove settings").click()
    with page.expect_navigation():
        confirm(page, "Remove")
    expect(page.get_by_text("The secret settings was removed.")).to_be_visible()
    expect(page.locator("#secret-settings")).to_have_count(0)


def test_it_lets_only_admins_set_and_remove(browse, service):
    page = browse("/stages/shop/empty/secrets")
    expect(page.get_by_text("Set a secret")).to_have_count(0)
    token = page.locator("[name=csrf_token]").first.input_value()
    sent = {"csrf_token": token, "name": "a", "kind": "variable", "of": "stage", "value": CANARY}
    for path in ("secrets", "secrets/a/remove"):
        answer = page.request.post(f"{service.url}/stages/shop/empty/{path}", form=sent)
        assert answer.status == 403
        assert "admin" in answer.text()
