"""Health for orchestrators and people at 3 a.m.: live, ready, and the reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from msgspec import Struct

Status = Literal["pass", "warn", "fail"]


class Check(Struct, frozen=True):
    """One thing readiness depends on. ``probe`` returns why it is not well, or an empty string."""

    name: str
    probe: Callable[[], str]
    #: A failing check that does not stop hook calls from being answered only warns.
    required: bool = True
    #: What the probe gives is a note (a setting people should know of), not a fault.
    note: bool = False


class Health:
    """The checks of one application."""

    def __init__(self, version: str, checks: list[Check]) -> None:
        self.version = version
        self.checks = checks

    def report(self) -> tuple[Status, dict[str, Any]]:
        """Overall status and the ``application/health+json`` document."""
        overall: Status = "pass"
        details: dict[str, Any] = {}
        for check in self.checks:
            try:
                reason = check.probe()
            except Exception as error:
                reason = f"{check.name} failed: {type(error).__name__}"
            if check.note and not reason:
                continue
            fine = not reason or check.note
            status: Status = "pass" if fine else "fail" if check.required else "warn"
            details[check.name] = [{"status": status, **({"output": reason} if reason else {})}]
            if status == "fail" or (status == "warn" and overall == "pass"):
                overall = status
        document = {
            "status": overall,
            "version": self.version,
            "serviceId": "clozapine-cds",
            "description": "clozapine safety service",
            "checks": details,
        }
        return overall, document
