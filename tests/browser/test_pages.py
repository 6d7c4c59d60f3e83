"""Pages in a real browser: they render, and load nothing from anywhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="Chromium and chromedriver are not installed",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "--window-size=1200,1600",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def _requested(browser: webdriver.Chrome) -> set[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    return {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}


def test_docs_show_the_api_and_load_nothing_from_elsewhere(
    browser: webdriver.Chrome, client: httpx.Client
) -> None:
    base = str(client.base_url).rstrip("/")
    browser.get(f"{base}/docs")
    WebDriverWait(browser, 20).until(
        lambda b: "clozapine-order-sign" in b.find_element(By.TAG_NAME, "body").text
    )
    foreign = {u for u in _requested(browser) if u.startswith("http") and not u.startswith(base)}
    assert foreign == set()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/", "Clozapine safety service"),
        ("/policies", "US label 2025"),
        ("/policies/us-label-2025", "severe neutropenia"),
    ],
)
def test_pages_render(
    browser: webdriver.Chrome, client: httpx.Client, tmp_path: Path, path: str, says: str
) -> None:
    base = str(client.base_url).rstrip("/")
    browser.get(f"{base}{path}")
    assert says in browser.find_element(By.TAG_NAME, "body").text
    assert {u for u in _requested(browser) if u.startswith("http") and not u.startswith(base)} == set()
    shot = tmp_path / "page.png"
    assert browser.save_screenshot(str(shot))
    assert shot.stat().st_size > 5_000
