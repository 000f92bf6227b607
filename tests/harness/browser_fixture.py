"""A real browser for pages made from records, and how to see that a page did nothing it should not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="pages are tested through selenium, which is not installed")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Chromium without a window, its settings in ``profile``; the test is skipped where there is none."""
    if not BROWSER or not DRIVER:
        pytest.skip("no Chromium with chromedriver is installed: the page cannot be looked at in a browser")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--force-device-scale-factor=1", f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.set_capability("unhandledPromptBehavior", "ignore")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def requests(chrome: Any) -> list[str]:
    """Addresses that the page asked for, other than its own and those inside it."""
    messages = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert sent, "the log of requests works: it has the page itself"
    own = ("data:", "chrome://")  # what is in the page, and the browser's own first tab, which may still load
    return [url for url in sent if not url.startswith(own) and url != chrome.current_url.partition("#")[0]]


def assert_unharmed(chrome: Any) -> None:
    assert chrome.execute_script("return window.hacked") is None
    asked, logged = requests(chrome), chrome.get_log("browser")
    assert (asked, logged) == ([], []), f"asked for {asked}, logged {logged}"
