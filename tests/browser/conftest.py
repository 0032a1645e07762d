"""One real service and one real browser for all tests; each test gets pages of its own that must stay clean."""

import getpass
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.service import PASSWORD, Service
from tests.support import OWN_NETWORK

expect.set_options(timeout=20_000)  # the machine may be busy with other tests
CHROMIUM = os.environ.get("CALLBOARD_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
DEPLOY = f"""# Deploys
- name: Deploy
  hosts: all
  gather_facts: false
  tasks:
    - name: First words
      ansible.builtin.debug: {{msg: "first words of the run"}}
    - name: Say something hostile
      ansible.builtin.debug:
        msg: '{HOSTILE}'
    - name: Wait
      ansible.builtin.command: sleep {{{{ pause | default(0.1) }}}}
      changed_when: false
"""
FAILING = """# Fails
- name: Deploy
  hosts: all
  gather_facts: false
  tasks:
    - name: Reach the database
      ansible.builtin.fail: {msg: "<b>no route</b> to the database"}
"""
CHARGE = """# Charges the customers
- name: Charge
  hosts: all
  gather_facts: false
  vars_prompt:
    - {name: why, prompt: Why now?, private: false}
  tasks:
    - ansible.builtin.debug: {msg: "{{ amount + 1 }} {{ regions | join('+') }} {{ pin }} {{ why }}"}
"""
PROMPTS = """
- {name: amount, question: How much?, help: In cents, type: integer, max: 1000}
- {name: regions, question: Where, type: multiple_choice, choices: [eu, us, asia], default: [us]}
- {name: pin, question: PIN of the till, secret: true}
"""
SLOW = DEPLOY.replace("default(0.1)", "default(60)")


def pytest_collection_modifyitems(items):
    for item in items:
        if "/tests/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """Stages: shop/production (two machines to work on), shop/fleet (500), shop/pulse (ttl 2 s), shop/empty."""
    running = Service(tmp_path_factory.mktemp("service"))
    running.start()
    try:
        _fill(running)
        yield running
    finally:
        running.stop()


def _fill(running):
    running.project(
        "shop", deploy=DEPLOY, rollback=DEPLOY, slow=SLOW, fails=FAILING, charge=CHARGE, **{"charge.prompts": PROMPTS}
    )
    running.project("secret", deploy=DEPLOY)
    patient = {"interval_seconds": 1800, "ttl_seconds": 3600}
    running.stage("shop/production", ansible_user=getpass.getuser(), **patient)
    running.stage("shop/slow", ansible_user=getpass.getuser(), **patient, deploy_playbook="slow.yml")
    running.stage("shop/fails", ansible_user=getpass.getuser(), **patient, deploy_playbook="fails.yml")
    running.stage("shop/locks", **patient)
    running.stage("shop/fleet", **patient)
    running.stage("shop/pulse", interval_seconds=1, ttl_seconds=2)
    running.stage("shop/quake", interval_seconds=1, ttl_seconds=3)
    running.stage("shop/empty")
    running.stage("secret/production")
    running.user("ada", "operator")
    running.user("vic", "viewer")
    running.user("sam", "operator", projects=["shop"])
    for number, stage in enumerate(("shop/production", "shop/slow", "shop/fails"), start=1):
        running.ssh_host(stage, "web-1", f"{OWN_NETWORK}.{number}")
    running.ssh_host("shop/production", "web-2", f"{OWN_NETWORK}.9")
    # These go on while the other tests begin: two releases to look at and to roll back from, and a failure.
    running.first = running.run(stage="shop/production", kind="deploy", comment="<i>hostile</i>")
    running.run(stage="shop/production", kind="deploy")
    running.failing = running.run(stage="shop/fails", kind="deploy", comment="needle")
    token = running.join_token("shop/fleet", "web")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: running.enrol(token, f"web-{n:03}", f"10.1.{n // 250}.{n % 250 + 1}"), range(500)))


@pytest.fixture
def old_log(service):
    """The log of a run that has ended; the test may write another one there."""
    service.wait_for_run(service.first, "successful")
    file = service.folder / "data" / "runs" / str(service.first) / "log"
    text = file.read_bytes()
    yield file
    file.write_bytes(text)


@pytest.fixture
def pulse(service):
    """Two machines of shop/pulse that beat four times a second; `.stop(name)` silences one."""
    heart = Heart(service)
    heart.start()
    yield heart
    heart.end()


class Heart(threading.Thread):
    def __init__(self, service):
        super().__init__(daemon=True)
        self._service = service
        token = service.join_token("shop/pulse", "web")
        suffix = int(time.monotonic() * 1000) % 250
        self.names = [f"loud-{suffix}", f"silent-{suffix}"]
        self._tokens = {
            name: service.enrol(token, name, f"10.9.{number}.{suffix + 1}") for number, name in enumerate(self.names)
        }
        self._is_ended = threading.Event()

    def run(self):
        seq = 1
        while not self._is_ended.wait(0.25):
            seq += 1
            for token in list(self._tokens.values()):
                self._service.beat(token, seq, metrics={"load1_per_cpu": 0.5})

    def stop(self, name):
        del self._tokens[name]

    def end(self):
        self._is_ended.set()
        self.join()


@pytest.fixture(scope="session")
def chromium():
    if not shutil.which(CHROMIUM):
        pytest.fail(f"{CHROMIUM} is missing: install the package chromium, or name it in CALLBOARD_TEST_CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def contexts(service, chromium):
    """contexts(who, **options): where that person is signed in; kept, so that its cache is warm for the next test."""
    known = {}

    def context(who, **options):
        key = (who, repr(options))
        if key not in known:
            same = next((other for (name, _), other in known.items() if name == who), None)
            known[key] = chromium.new_context(storage_state=same and same.storage_state(), **options)
            if same is None:
                page = known[key].new_page()
                sign_in(page, service, who)
                page.close()
        return known[key]

    return context


def sign_in(page, service, name, password=None, path="/sign-in"):
    """Return when the next page is there: closing a page while it navigates may never end in Chromium."""
    page.goto(service.url + path)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password or (service.password if name == "admin" else PASSWORD))
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in").click()


def confirm(page, word):
    """Answer the question that stands before what can't be taken back."""
    page.get_by_role("dialog").get_by_role("button", name=word).click()


@pytest.fixture
def browse(service, chromium, contexts):
    """browse(path, who): a page there, nobody signed in for None. No page may have complained on its console."""
    opened, complaints = [], []

    def is_complaint(message):
        is_expected = "status of 4" in message.text and message.location.get("url", "").startswith(service.url)
        return message.type in ("error", "warning") and not is_expected

    def open_page(path="/", who="ada", **options):
        options = {"viewport": {"width": 1440, "height": 900}, **options}
        context = contexts(who, **options) if who else chromium.new_context(**options)
        context.set_default_timeout(20_000)
        page = context.new_page()
        opened.append(page if who else context)
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(service.url + path)
        return page

    yield open_page
    for each in opened:
        each.close()
    assert not complaints, complaints
