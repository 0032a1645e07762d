"""What holds for every page."""

import pytest
from playwright.sync_api import expect

PAGES = (
    "/",
    "/runs",
    "/stages/shop/fleet?q=web-00",
    "/stages/shop/empty",
    "/stages/shop/production?release=1",
    "/runs/1",
    "/runs/1/events?q=words",
    "/runs/1/snapshot",
    "/runs/1/diff/2",
    "/stages/shop/production/variables",
    "/stages/shop/production/metrics",
    "/stages/shop/production/scaling",
    "/audit?action=stage",
    "/sign-in",
    "/nowhere",
)
CUT_OFF = """() => [...document.querySelectorAll("h1:not(.visually-hidden), .btn")]
  .filter((element) => element.scrollWidth > element.clientWidth + 1
    || (element.matches(".cb-item .btn") && element.clientHeight > 40))
  .map((element) => element.outerHTML)"""
# What a screen reader would trip over: fields without a label, links and buttons without a name, ids that are not.
TROUBLE = """() => {
  const nameless = (element) => !(element.textContent.trim() || element.ariaLabel);
  const unlabelled = (field) => ![...field.labels].some((label) => label.textContent.trim());
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return [
    ...[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter(unlabelled),
    ...[...document.querySelectorAll("a[href], button, summary")].filter(nameless),
  ].map((element) => element.outerHTML.slice(0, 100)).concat(ids.filter((id, at) => ids.indexOf(id) !== at));
}"""


@pytest.fixture
def paths(service):
    for run in (service.first, service.first + 1):
        service.wait_for_run(run, "successful", seconds=60)
    host = service.call("GET", "/stages/shop/fleet/hosts?limit=1")["items"][0]["id"]
    return [*PAGES, f"/hosts/{host}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(browse, service, paths, scheme):
    page = browse("/", "admin", viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for path in paths:
        page.goto(service.url + path)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_stay_within_the_page(browse, service, width):
    project, stage = f"p{'o' * 39}", f"s{width}".ljust(40, "g")
    name = f"{project}/{stage}"
    if project not in [one["name"] for one in service.call("GET", "/projects")["items"]]:
        service.project(project, deploy="- hosts: all")
    service.stage(name, description="D" * 200)
    token = service.call("POST", f"/stages/{name}/join-tokens", {"networks": ["0.0.0.0/0", "::/0"]})["token"]
    service.enrol(token, f"{'h' * 60}.{width}", f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{width}")
    host = service.call("GET", f"/stages/{name}/hosts")["items"][0]["id"]
    service.call("PATCH", "/projects/secret", {"description": "d " * 90})
    hook = {"provider": "github", "refs": ["branch:main"], "description": "d " * 90}
    service.call("POST", f"/stages/{name}/webhooks", hook)
    page = browse("/", "admin", viewport={"width": width, "height": 844})
    for path in ("/", "/runs", f"/stages/{name}", f"/stages/{name}/automation", f"/hosts/{host}"):
        page.goto(service.url + path)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, path
        assert page.evaluate(CUT_OFF) == [], path
    page.goto(service.url)
    assert page.locator("#project-secret-title").bounding_box()["height"] < 40


def test_the_menu_marks_where_a_page_belongs(browse, service, paths):
    page = browse("/", "admin")
    for path, word in (("/runs/1/events", "Runs"), (paths[-1], "Stages"), ("/stages/shop/empty/secrets", "Stages")):
        page.goto(service.url + path)
        expect(page.locator(".cb-nav .active")).to_have_text(word)


def test_paper_is_light(browse):
    page = browse("/runs", color_scheme="dark")
    colour = "getComputedStyle(document.querySelector('.cb-table td')).color"
    on_screen = page.evaluate(colour)
    page.emulate_media(media="print")
    assert (on_screen, page.evaluate(colour)) == ("rgb(230, 224, 234)", "rgb(42, 37, 48)")


def test_it_says_what_is_not_there(browse):
    page = browse("/no/where?at=all")
    expect(page.get_by_text("There is nothing at /no/where.")).to_be_visible()


def test_every_field_link_and_button_has_a_name(browse, service, paths):
    page = browse("/", "admin")
    for path in paths:
        page.goto(service.url + path)
        assert page.evaluate(TROUBLE) == [], path


def test_every_page_forbids_inline_scripts(browse, service, paths):
    page = browse("/", "admin")
    for path in paths:
        policy = page.request.get(service.url + path).headers["content-security-policy"]
        assert "default-src 'self'" in policy, path
        assert "unsafe" not in policy, path


def test_static_files_may_be_kept_for_ever(browse, service):
    page = browse("/")
    for address in page.evaluate("[...document.querySelectorAll('link, script')].map((e) => e.href || e.src)"):
        answer = page.request.get(address)
        assert answer.status == 200
        assert "immutable" in answer.headers["cache-control"], address


def test_the_api_asks_for_no_form_token(service):
    service.call("PUT", "/stages/shop/empty/lock", {"reason": "by token"})
    service.call("DELETE", "/stages/shop/empty/lock")


def test_a_session_changes_nothing_through_the_api(browse, service):
    page = browse("/")
    assert page.request.get(f"{service.url}/api/v1/runs").status == 200
    answer = page.request.put(f"{service.url}/api/v1/stages/shop/empty/lock", data={"reason": "forged"})
    assert answer.status == 401
