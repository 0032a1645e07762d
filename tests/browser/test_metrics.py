"""Charts of what hosts report, drawn by a real browser from a real service's past."""

import pytest
from playwright.sync_api import expect

from tests.browser import history
from tests.browser.test_pages import TROUBLE

PHONE = {"viewport": {"width": 390, "height": 844}}
# The share of a canvas's columns in which a line was drawn, left to right, as text: "x" drawn, "." empty.
DRAWN = """(figure) => {
  const canvas = figure.querySelector("canvas"), copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const plot = figure.querySelector(".u-over").getBoundingClientRect(), own = canvas.getBoundingClientRect();
  const ratio = canvas.width / own.width, left = plot.left - own.left, top = plot.top - own.top;
  const stroke = getComputedStyle(document.documentElement).getPropertyValue("--cb-run").trim();
  const wanted = [1, 3, 5].map((at) => parseInt(stroke.slice(at, at + 2), 16));
  const isLine = (data, at) => wanted.every((part, n) => Math.abs(part - data[at + n]) < 12);
  let found = "";
  for (let x = 0; x < 48; x += 1) {
    const part = [left + (x * plot.width) / 48, top, plot.width / 48, plot.height].map((one) => one * ratio);
    const { data } = context.getImageData(...part);
    let isDrawn = false;
    for (let at = 0; at < data.length; at += 4) isDrawn ||= isLine(data, at);
    found += isDrawn ? "x" : ".";
  }
  return found;
}"""


@pytest.fixture(scope="session")
def past(service):
    """Weeks of metrics of shop/fleet and of shop/past, three hosts."""
    service.stage("shop/past", interval_seconds=1800, ttl_seconds=3600)
    token = service.join_token("shop/past", "web")
    hosts = [service.enrol(token, f"web-{n}", f"10.7.0.{n}") for n in range(1, 4)]
    for host in hosts:
        service.beat(host, metrics={"load1_per_cpu": 0.5, "requests_total": 5})
    for stage in ("shop/past", "shop/fleet"):
        history.write(service, stage)


def figure(page, title):
    return page.locator(f"figure[data-title='{title}']")


def test_a_fleet_is_shown_by_its_statistics_and_gaps_are_gaps(browse, past):
    page = browse("/stages/shop/fleet")
    page.get_by_role("link", name="Metrics").click()
    chart = figure(page, "Load per CPU")
    expect(chart.locator("figcaption")).to_contain_text("500 of 500 hosts reported")
    expect(chart.get_by_role("button")).to_have_count(5)
    drawn = chart.evaluate(DRAWN)
    assert drawn.startswith("xxxx"), drawn
    assert "..." in drawn[30:40], drawn
    total = chart.get_by_role("button", name="sum")
    expect(total).to_have_attribute("aria-pressed", "false")
    total.click()
    expect(total).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("span", ["1 hour", "24 hours", "14 days", "90 days"])
def test_each_range_is_drawn(browse, past, span):
    page = browse("/stages/shop/past/metrics")
    page.get_by_role("link", name=span, exact=True).click()
    expect(page.get_by_role("link", name=span, exact=True)).to_have_attribute("aria-current", "true")
    for chart in page.locator("figure").all():
        expect(chart.locator("figcaption")).to_contain_text("in the time shown; 3 of 3 hosts reported")
    assert "x" in figure(page, "Memory used").evaluate(DRAWN)


def test_the_same_is_a_table(browse, past):
    page = browse("/stages/shop/past/metrics")
    chart = figure(page, "Memory used")
    chart.get_by_text("The same as a table").click()
    table = chart.get_by_role("table")
    expect(table.get_by_role("columnheader")).to_have_text(["Time, UTC", "avg", "p50", "p95", "max", "sum"])
    expect(table.get_by_role("row").nth(1)).to_contain_text("%")
    expect(table.get_by_role("row").filter(has_text="nobody reported").first).to_contain_text(" to ")
    picture = chart.get_by_role("img").first
    expect(picture).to_have_attribute("aria-label", "Memory used: " + chart.locator("figcaption").inner_text() +
                                      " The table below says the same in words.")  # fmt: skip


def test_a_host_stands_beside_its_stage(browse, service, past):
    host = service.call("GET", "/stages/shop/past/hosts?limit=1")["items"][0]
    page = browse(f"/hosts/{host['id']}")
    page.get_by_role("link", name="Metrics").click()
    chart = figure(page, "Load per CPU")
    expect(chart.get_by_role("button")).to_have_count(2)
    expect(chart.locator("figcaption")).to_contain_text("this host:")
    expect(figure(page, "Requests").locator("figcaption")).to_be_visible()


def test_colours_follow_the_theme(browse, past):
    page = browse("/stages/shop/past/metrics", color_scheme="dark")
    chart = figure(page, "Load per CPU")
    expect(chart.locator("canvas")).to_be_visible()
    assert "x" in chart.evaluate(DRAWN)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.wait_for_function(f"(figure) => ({DRAWN})(figure).includes('x')", arg=chart.element_handle())
    page.evaluate("localStorage.clear()")  # the browser's context is shared with other tests


@pytest.mark.parametrize("stage", ["shop/fleet", "shop/empty"])
def test_it_fits_a_phone(browse, past, stage):
    page = browse(f"/stages/{stage}/metrics", **PHONE)
    expect(
        page.get_by_text("Nothing was reported" if stage == "shop/empty" else "500 of 500 hosts").first
    ).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(TROUBLE) == []


def test_it_says_when_a_chart_does_not_come(browse, past):
    page = browse("/")
    page.route("**/chart?*", lambda route: route.fulfill(status=404, body="{}"))
    page.goto(page.url + "stages/shop/past/metrics")
    expect(page.locator("figcaption").first).to_contain_text("did not send this chart (status 404)")
