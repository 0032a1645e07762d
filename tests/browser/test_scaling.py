"""The scaling page: machines, metric and decisions over time, policies with a preview."""

import pytest
from playwright.sync_api import expect

from tests.browser import history
from tests.browser.conftest import confirm
from tests.browser.test_pages import TROUBLE

STAGE = "/stages/shop/scaled"
TARGET = {"type": "target", "name": "cpu", "metric": "load1_per_cpu", "target": 0.6}
STEP = {"type": "step", "name": "requests", "metric": "requests_per_second", "statistic": "sum", "threshold": 100}
STEP["steps"] = [{"upper": 0, "adjustment": 0}, {"lower": 0, "adjustment": 1}]
SCALING = {"limits": {"minimum": 1, "maximum": 8}, "policies": [TARGET, STEP], "enabled": True, "dry_run": True}
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="session")
def scaled(service):
    """shop/scaled with weeks of metrics and four decisions; shop/fleet with its 500 hosts."""
    service.stage("shop/scaled", interval_seconds=1800, ttl_seconds=3600)
    token = service.join_token("shop/scaled", "web")
    for number in range(1, 4):
        host = service.enrol(token, f"web-{number}", f"10.6.0.{number}")
        service.beat(host, metrics={"load1_per_cpu": 0.5})
    history.write(service, "shop/scaled", decisions=True)
    return service


@pytest.fixture(autouse=True)
def _as_set(scaled):
    scaled.call("PUT", f"{STAGE}/scaling", SCALING)


def press(page, name):
    with page.expect_navigation():
        page.get_by_role("button", name=name, exact=True).last.click()


def field(page, name):
    return page.locator(f"[id='{name}']")


def test_each_decision_is_marked_and_explained(browse, scaled):
    page = browse(f"{STAGE}/scaling?range=14d")
    machines = page.locator("figure[data-title='Machines']")
    last = "Last, on average over an hour: 3 desired, 3 live, 3 on the desired release."
    expect(machines.locator("figcaption")).to_have_text(last)
    expect(machines.locator(".cb-mark")).to_have_count(4)
    shown = page.locator("#decision-shown")
    machines.locator(".cb-mark-out:not(.cb-mark-dry)").focus()
    expect(shown).to_contain_text("added 1: 2 → 3")
    expect(shown).to_contain_text("cpu: avg load1_per_cpu over 300 s is 0.9, the target 0.6: 3 hosts.")
    expect(shown.get_by_role("row").filter(has_text="avg load1_per_cpu over 300 s")).to_contain_text("2 of 2")
    machines.locator(".cb-mark-failed").click()
    expect(shown).to_contain_text("failed to remove 1")
    opened = page.locator(".cb-decision[open]")
    expect(opened).to_have_count(1)
    expect(opened).to_contain_text("The drain run 7 was failed")
    page.locator(".cb-decision summary").first.focus()
    expect(shown).to_contain_text("No change: expiry is paused")


def test_it_draws_what_policies_see(browse, scaled):
    page = browse(f"{STAGE}/scaling")
    load = page.locator("figure[data-title='Load per CPU']")
    expect(load.get_by_role("button", name="aim 0.6")).to_be_visible()
    requests = page.locator("figure[data-title='Requests']")
    expect(requests.get_by_role("button")).to_have_count(2)
    expect(requests.locator("figcaption")).to_contain_text("sum:")


def test_its_state_stands_on_top(browse, scaled):
    policies = [{**TARGET, "disable_scale_in": True}]
    scaled.call("PUT", f"{STAGE}/scaling", {**SCALING, "policies": policies})
    page = browse(f"{STAGE}/scaling")
    expect(page.locator("#dry-banner")).to_contain_text("no machine comes or goes")
    expect(page.locator("#no-scale-in-banner")).to_contain_text("cpu never lets one go")
    scaled.call("PUT", f"{STAGE}/scaling", {**SCALING, "enabled": False})
    page.reload()
    expect(page.locator("#off-banner")).to_be_visible()


def test_a_preview_stands_beside_the_present_and_changes_nothing(browse, scaled):
    page = browse(f"{STAGE}/scaling")
    field(page, "policies.0.target").fill("0.3")
    field(page, "price").fill("0.5")
    press(page, "Preview")
    preview = page.locator("#preview")
    assert page.evaluate("document.activeElement.id") == "preview"
    expect(preview.get_by_role("status")).to_contain_text("what was recorded in the last 7.0 days")
    row = preview.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Cost"))
    new, present = (float(row.get_by_role("cell").nth(at).inner_text()) for at in (0, 1))
    assert new > present
    for title in ("Machines", "Load per CPU per machine"):
        figure = preview.locator(f"figure[data-title='{title}']")
        expect(figure.locator("canvas")).to_be_visible()
        expect(figure.locator("figcaption")).to_contain_text("new at most")
    preview.get_by_text("The same as a table").first.click()
    expect(preview.get_by_role("columnheader", name="present", exact=True)).to_be_visible()
    expect(field(page, "policies.0.target")).to_have_value("0.3")
    expect(page.get_by_text("not saved yet")).to_be_visible()
    assert scaled.call("GET", f"{STAGE}/scaling")["policies"][0]["target"] == 0.6
    expect(page.get_by_text("Only admins save.")).to_be_visible()


def test_a_stage_without_a_past_plays_the_shipped_trace_or_ones_own(browse, scaled):
    page = browse("/stages/shop/empty/scaling")
    expect(page.get_by_text("Nothing was decided")).to_be_visible()
    press(page, "Preview")
    expect(page.locator("#preview").get_by_role("status")).to_contain_text("nothing of load1_per_cpu on record")
    trace = "at,load1_per_cpu\n2026-11-16T00:00:00Z,1\n2026-11-16T01:00:00Z,5\n2026-11-16T02:00:00Z,5\n"
    page.get_by_label("or a trace of your own").set_input_files(
        {"name": "t.csv", "mimeType": "text/csv", "buffer": trace.encode()}
    )
    press(page, "Preview")
    expect(page.locator("#preview").get_by_role("status")).to_contain_text("Played the given trace.")
    page.get_by_label("or a trace of your own").set_input_files(
        {"name": "t.csv", "mimeType": "text/csv", "buffer": b"at,x\n?,1"}
    )
    press(page, "Preview")
    expect(page.get_by_role("alert")).to_contain_text("Line 2")


def test_wrong_fields_are_named_where_they_are(browse, scaled):
    page = browse(f"{STAGE}/scaling", who="admin")
    wrong = {"limits.minimum": "9", "policies.0.target": "much", "policies.1.name": ""}
    step = "policies.1.steps.1.adjustment"
    for name, text in {**wrong, step: "<b>"}.items():
        field(page, name).fill(text)
    press(page, "Save")
    assert page.evaluate("document.activeElement.id") == "form-error"
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved.")
    for name, text in wrong.items():
        expect(field(page, name)).to_have_attribute("aria-describedby", f"error-{name}")
        expect(field(page, f"error-{name}")).to_be_visible()
        expect(field(page, name)).to_have_value(text)
    field(page, "policies.1.name").fill("requests")
    press(page, "Save")
    expect(field(page, f"error-{step}")).to_contain_text("whole number")
    assert page.evaluate(TROUBLE) == []
    assert scaled.call("GET", f"{STAGE}/scaling")["policies"] == [TARGET, STEP]


def test_an_admin_adds_saves_and_removes(browse, scaled):
    page = browse(f"{STAGE}/scaling", who="admin")
    press(page, "Schedule")
    field(page, "policies.2.minimum").fill("3")
    press(page, "Remove the policy cpu")
    press(page, "Steps")
    field(page, "policies.2.steps.1.upper").fill("200")
    field(page, "policies.2.steps.2.lower").fill("200")
    field(page, "policies.2.steps.2.adjustment").fill("4")
    page.get_by_text("From CloudWatch instead of the hosts").last.click()
    field(page, "policies.2.cloudwatch.namespace").fill("AWS/SQS")
    field(page, "policies.2.cloudwatch.name").fill("Visible")
    field(page, "policies.2.cloudwatch.period").fill("90")
    field(page, "policies.2.cloudwatch.dimensions").fill("QueueName=jobs\nOther=a=b\n")
    press(page, "Save")
    expect(field(page, "error-policies.2.cloudwatch.period")).to_contain_text("whole minutes")
    field(page, "policies.2.cloudwatch.period").fill("300")
    page.get_by_label("Machines come from").select_option("an Auto Scaling group")
    page.get_by_label("Region").fill("eu-central-1")
    page.get_by_label("Group's name").fill("shop-web")
    expect(page.get_by_label("Launch template")).to_be_hidden()
    page.get_by_role("checkbox", name="Dry run").uncheck()
    page.get_by_role("checkbox", name="Scale this stage").uncheck()
    press(page, "Save")
    expect(page.locator("#saved-banner")).to_be_visible()
    found = scaled.call("GET", f"{STAGE}/scaling")
    assert [(one["type"], one["name"]) for one in found["policies"]] == [
        ("step", "requests"), ("schedule", "morning"), ("step", "queue"),
    ]  # fmt: skip
    assert found["policies"][2]["steps"][1:] == [
        {"lower": 0, "upper": 200, "adjustment": 1}, {"lower": 200, "adjustment": 4},
    ]  # fmt: skip
    source = {"namespace": "AWS/SQS", "name": "Visible", "dimensions": {"QueueName": "jobs", "Other": "a=b"}}
    assert found["policies"][2]["cloudwatch"] == {**source, "period": 300}
    assert (found["enabled"], found["dry_run"], found["limits"]["maximum"]) == (False, False, 8)
    assert found["actuator"] == {"type": "auto_scaling_group", "region": "eu-central-1", "name": "shop-web"}
    actuator = {**found["actuator"], "launching_hook": "callboard-launch"}
    scaled.call("PUT", f"{STAGE}/scaling", {**SCALING, "enabled": False, "actuator": actuator})
    page.reload()
    field(page, "actuator.name").fill("shop-web-2")
    field(page, "actuator.tags.match").fill("app=shop\nbroken")
    field(page, "actuator.tags.groups").fill("role, tier")
    press(page, "Save")
    expect(page.get_by_role("alert")).to_contain_text("tags.match is a mapping of EC2 tags")
    field(page, "actuator.tags.match").fill("app=shop\nenv=live")
    press(page, "Save")
    tags = {"match": {"app": "shop", "env": "live"}, "groups": ["role", "tier"]}
    assert scaled.call("GET", f"{STAGE}/scaling")["actuator"] == {**actuator, "name": "shop-web-2", "tags": tags}
    expect(field(page, "actuator.tags.groups")).to_have_value("role, tier")
    page.get_by_role("button", name="Scale this stage no more").click()
    with page.expect_navigation():
        confirm(page, "Scale this stage no more")
    expect(page.get_by_text("not set up")).to_be_visible()


def test_viewers_look_and_operators_do_not_save(browse, scaled):
    page = browse(f"{STAGE}/scaling", who="vic")
    expect(field(page, "policies.0.target")).to_be_disabled()
    expect(page.get_by_role("button", name="Preview")).to_have_count(0)
    operator = browse(f"{STAGE}/scaling")
    for who, action in ((page, "preview"), (operator, "save"), (operator, "off")):
        token = who.locator("[name=csrf_token]").first.input_value()
        form = {"csrf_token": token, "action": action, "count": "0"}
        assert who.request.post(scaled.url + f"{STAGE}/scaling", form=form).status == 403
    assert scaled.call("GET", f"{STAGE}/scaling")["policies"] == [TARGET, STEP]


@pytest.mark.parametrize(
    "path", [f"{STAGE}/scaling?range=14d", "/stages/shop/fleet/scaling", "/stages/shop/empty/scaling"]
)
def test_it_fits_a_phone(browse, scaled, path):
    page = browse(path, **PHONE)
    expect(page.locator("figcaption").first).not_to_have_text("Loading …")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(TROUBLE) == []
    press(page, "Preview")
    expect(page.locator("#preview canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
