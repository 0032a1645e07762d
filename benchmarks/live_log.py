"""From a line that a task prints to the same line in the browser's live log, at 200 hosts.

A real service, a real run, Chromium on the run's page. Each host prints the time at which its task ran; the page's own
clock (the same machine's) says when the line stood in the log. `python benchmarks/live_log.py [--quick]`
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import support
from playwright.sync_api import sync_playwright
from support import Row

from inventory_service.demo.service import RunningService, free_port

CHROMIUM = os.environ.get("CALLBOARD_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PLAYBOOK = """
- name: Work
  hosts: all
  gather_facts: false
  tasks:
    - name: Wait for the browser
      ansible.builtin.wait_for: {path: "PATH", timeout: 120}
      delegate_to: localhost
      run_once: true
      connection: local
      vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
    - name: Print
      ansible.builtin.debug:
        msg: "printed {{ item }} {{ inventory_hostname }} {{ lookup('pipe', 'date +%s.%N') }} end"
      loop: "{{ range(ROUNDS) | list }}"
"""
# Runs in the page: notes when each line arrives in the log.
WATCH = """() => {
  window.seen = {};
  const log = document.getElementById("log");
  const pattern = /printed (\\d+) (\\S+) ([\\d.]+) end/g;
  new MutationObserver((changes) => {
    const now = Date.now() / 1000;
    for (const change of changes)
      for (const node of change.addedNodes)
        for (const found of node.textContent.matchAll(pattern))
          window.seen[`${found[1]} ${found[2]}`] ??= now - Number(found[3]);
  }).observe(log, { childList: true, subtree: true });
}"""


def measure(folder: Path, options: Any) -> list[Row]:
    source, flag = folder / "source", folder / "go"
    source.mkdir()
    (source / "play.yml").write_text(PLAYBOOK.replace("PATH", str(flag)).replace("ROUNDS", str(options.lines)))
    service = RunningService(folder / "service", port=free_port())
    service.start()
    try:
        client = service.client
        client.send("POST", "/api/v1/projects", {"name": "shop", "source": f"{source}/"})
        patient = {"name": "production", "ttl_seconds": 86_400, "interval_seconds": 3600}
        client.send("POST", "/api/v1/projects/shop/stages", patient)
        for number in range(options.hosts):
            client.send("PUT", f"/api/v1/stages/shop/production/hosts/127.2.0.{number + 1}")
        run = client.send(
            "POST", "/api/v1/runs", {"stage": "shop/production", "kind": "playbook", "playbook": "play.yml"}
        )
        delays = watch(service, run["id"], flag)
        ended = client.get(f"/api/v1/runs/{run['id']}")
        assert ended["status"] == "successful", ended["error"]
    finally:
        service.stop()
    expected = options.hosts * options.lines
    p95 = statistics.quantiles(delays, n=20)[18]
    told = f"median {statistics.median(delays):.2f} s, {len(delays)} of {expected} lines arrived"
    row = support.limit_row(
        f"a printed line to the browser's live log, {options.hosts} hosts, 95th percentile", p95, 1, "s", peer=told
    )
    lost = Row("lines lost on the way", str(expected - len(delays)), told, "", "0", expected == len(delays))
    return [row, lost]


def watch(service: RunningService, run_id: int, flag: Path) -> list[float]:
    """Open the run's page, let the playbook go on, and return each line's delay in seconds."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"{service.url}/sign-in")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(service.password)
        with page.expect_navigation():
            page.get_by_role("button", name="Sign in").click()
        page.goto(f"{service.url}/runs/{run_id}")
        page.evaluate(WATCH)
        page.get_by_text("TASK [Wait for the browser]").wait_for(timeout=60_000)
        flag.touch()
        page.locator("#run-said", has_text="The run has ended").wait_for(timeout=600_000, state="attached")
        time.sleep(1)
        delays = list(page.evaluate("window.seen").values())
        browser.close()
        return delays


def main() -> None:
    options = support.arguments(__doc__, quick={"hosts": 20, "lines": 2}, full={"hosts": 200, "lines": 5})
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options)
    support.finish(found, options.json)


if __name__ == "__main__":
    main()
