"""The audit log's page."""

from playwright.sync_api import expect


def test_it_shows_who_changed_what(browse, service):
    page = browse("/audit", "admin")
    page.get_by_label("Action").fill("run.deploy")
    page.get_by_label("About").fill("shop/production")
    page.get_by_role("button", name="Filter").click()
    row = page.locator("tbody tr").last
    expect(row).to_contain_text("run.deploy")
    row.get_by_role("link", name=f"run {service.first}", exact=True).click()
    expect(page.locator("h1")).to_contain_text("deploy")


def test_it_shows_what_was_before_and_what_is_now(browse, service):
    service.user("climber", "viewer")
    service.call("PATCH", "/users/climber", {"role": "admin"})
    page = browse("/audit?action=user.update&target=climber", "admin")
    expect(page.locator("tbody tr").first.locator("td").last).to_have_text("role: viewer → admin")


def test_it_pages_back_to_the_first_entry(browse, service):
    for _ in range(101):
        service.call("PATCH", "/stages/shop/empty", {"description": "said again"})
    page = browse("/audit?action=stage&target=shop/empty", "admin")
    expect(page.locator("tbody tr")).to_have_count(100)
    page.get_by_role("link", name="Older entries").click()
    expect(page.locator("tbody tr").last).to_contain_text("stage.create")
    expect(page.get_by_label("About")).to_have_value("shop/empty")
    page.get_by_label("By").fill("nobody")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("h2")).to_have_text("No entry fits")


def test_it_is_for_admins_of_all_projects(browse):
    page = browse("/", "ada")
    expect(page.get_by_role("link", name="Audit")).to_have_count(0)
    assert page.goto(f"{page.url}audit").status == 403
    expect(page.locator("main")).to_contain_text("This needs the role admin")
