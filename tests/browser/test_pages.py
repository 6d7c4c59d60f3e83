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
        ("/policies/us-label-2025/patient", "Taking clozapine safely"),
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


def _sized(browser: webdriver.Chrome, width: int, media: str = "") -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})


def test_the_sheet_for_the_patient_fits_a_telephone_and_a_sheet_of_paper(
    browser: webdriver.Chrome, client: httpx.Client
) -> None:
    base = str(client.base_url).rstrip("/")
    try:
        _sized(browser, 320)
        browser.get(f"{base}/policies/uk-smpc/patient#missed-doses")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 320
        top = browser.find_element(By.ID, "missed-doses").location["y"] - browser.execute_script(
            "return scrollY"
        )
        assert 0 <= top < 400  # the link of a card leads to its section
        staff = browser.find_element(By.CLASS_NAME, "staff")
        assert staff.is_displayed()
        _sized(browser, 794, "print")
        assert not staff.is_displayed()
        assert browser.find_element(By.ID, "emergency").is_displayed()
        assert "not confirmed" not in browser.find_element(By.TAG_NAME, "body").text
    finally:
        _sized(browser, 1200)
