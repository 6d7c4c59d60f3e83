"""Health for orchestrators and people at 3 a.m.: live, ready, and the reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

from msgspec import Struct

Status = Literal["pass", "warn", "fail"]
#: An orchestrator asks every few seconds and gives up after one: what hangs is said, not waited for.
LIMIT_SECONDS = 0.8


class Check(Struct, frozen=True):
    """One thing readiness depends on. ``probe`` returns why it is not well, or an empty string."""

    name: str
    probe: Callable[[], str]
    #: A failing check that does not stop hook calls from being answered only warns.
    required: bool = True
    #: What the probe gives is a note (a setting people should know of), not a fault.
    note: bool = False
    #: Named in the report only while it is not well.
    quiet: bool = False
    #: The probe asks something outside this process, which may hang: it has a thread of its own.
    outside: bool = False


class Health:
    """The checks of one application.

    Args:
        version: of the service.
        checks: in the order of the report.
        limit: seconds that a probe of something outside may take.
    """

    def __init__(self, version: str, checks: list[Check], limit: float = LIMIT_SECONDS) -> None:
        self.version = version
        self.checks = checks
        self._limit = limit
        self._threads = {
            check.name: ThreadPoolExecutor(1, f"health-{check.name}") for check in checks if check.outside
        }
        #: Probes that have not come back: no second one is sent after them, or they would fill the threads.
        self._under_way: dict[str, Future[str]] = {}

    def close(self) -> None:
        """Probe no more; a probe that hangs is left behind."""
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    async def _reason(self, check: Check) -> str:
        """Why a check is not well; empty when it is."""
        try:
            if not check.outside:
                return check.probe()
            under_way = self._under_way.get(check.name)
            if under_way is None or under_way.done():
                under_way = self._threads[check.name].submit(check.probe)
                self._under_way[check.name] = under_way
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(under_way)), self._limit)
        except TimeoutError:
            return f"the {check.name} does not answer within {self._limit:g} s"
        except Exception as error:
            return f"{check.name} failed: {type(error).__name__}"

    async def report(self) -> tuple[Status, dict[str, Any]]:
        """Overall status and the ``application/health+json`` document, in little more than the limit."""
        overall: Status = "pass"
        details: dict[str, Any] = {}
        reasons = await asyncio.gather(*(self._reason(check) for check in self.checks))
        for check, reason in zip(self.checks, reasons, strict=True):
            if (check.note or check.quiet) and not reason:
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
