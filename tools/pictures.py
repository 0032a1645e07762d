"""Takes the README's pictures from a demo that was left running: `.venv/bin/python tools/pictures.py URL PASSWORD`.

Deploys v2 once more, and looks at the run while it works and at the stage after it. Needs the packages of
`tools/setup dev` and a Chromium, /usr/bin/chromium or what CALLBOARD_TEST_CHROMIUM names.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "images"
CHROMIUM = os.environ.get("CALLBOARD_TEST_CHROMIUM", "/usr/bin/chromium")
SIZE = {"width": 1280, "height": 800}
STAGE = "/stages/shop/production"
SECOND_BATCH = re.compile(r"PLAY \[.*PLAY \[.*Settle what is deployed", re.DOTALL)


def main(url: str, password: str) -> None:
    """Write run.png and stage.png."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(url)
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill(password)
        with page.expect_navigation():
            page.get_by_role("button", name="Sign in").click()
        deploy(page, url)
        page.goto(url + STAGE)
        save(page, "stage.png")
        browser.close()


def deploy(page: Page, url: str) -> None:
    """Start it from the form; the picture is of the second batch, when the first machine is done."""
    page.goto(url + STAGE)
    page.locator("#deploy-revision").fill("v2")
    page.locator("#deploy-comment").fill("SHOP-1931: sell compasses again")
    with page.expect_navigation():
        page.get_by_role("button", name="Deploy to").click()
    expect(page.locator("#log")).to_contain_text(SECOND_BATCH, timeout=120_000)
    save(page, "run.png")
    expect(page.locator("#run-status")).to_contain_text("successful", timeout=120_000)


def save(page: Page, name: str) -> None:
    """As it looks when all that is loaded later is there."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(500)
    page.screenshot(path=FOLDER / name)


if __name__ == "__main__":
    main(*sys.argv[1:])
