"""The first call waits for nothing: all data are read, all patterns compiled, all offers validated before it."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

_READ_ALREADY = """
import importlib, pkgutil
import service.alerts, service.fhir
from service.hooks.warm import warm
warm()
for package in (service.alerts, service.fhir):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        for name, found in vars(importlib.import_module(module.name)).items():
            info = getattr(found, "cache_info", None)
            if info is None or found.__module__ != module.name or info().currsize:
                continue
            if info().maxsize is None and found.__wrapped__.__code__.co_argcount == 0:
                print(f"{module.name}.{name}")
"""


def test_everything_that_is_read_once_has_been_read() -> None:
    """In a process of its own: here other tests may have read it."""
    made = subprocess.run([sys.executable, "-c", _READ_ALREADY], capture_output=True, text=True, check=True)
    # The documentation, the pages and the sweep ask for these; no call does.
    elsewhere = {
        "service.alerts.knowledge.demotions.demotions",
        "service.alerts.knowledge.drugs.drug_ids",
        "service.alerts.knowledge.not_understood.not_understood_kinds",
        "service.alerts.policy.patient_sheet._file",
        "service.alerts.policy.policy.policy_ids",
        "service.fhir.notices._models",
    }
    assert set(made.stdout.split()) <= elsewhere


def test_the_test_can_fail() -> None:
    """There are loaders of the kind it looks for."""
    found = [
        name
        for module in pkgutil.walk_packages(
            importlib.import_module("service.alerts").__path__, "service.alerts."
        )
        for name, value in vars(importlib.import_module(module.name)).items()
        if hasattr(value, "cache_info") and value.cache_info().maxsize is None
    ]
    assert {"kinds_by_loinc", "condition_kinds", "tests_by_text"} <= set(found)
