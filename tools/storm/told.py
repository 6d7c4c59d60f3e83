"""What the storm showed, as rows and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

#: What is aimed at: milliseconds of the other site's 99th percentile, and how much memory may stay.
AIM_P99_MS = 100.0
AIM_MEMORY = 1.10


class Row(msgspec.Struct, frozen=True):
    """One fault."""

    fault: str
    means: str
    #: Ordinary calls by status, of north and south; what the attack itself got.
    north: dict[str, int]
    south: dict[str, int]
    attack: dict[str, int]
    p50: float
    p99: float
    #: 99th percentile of how late the client itself was: the machine was too busy to measure where it is large.
    late: float
    #: Ordinary calls, of both sites, that got no answer, no card where there is one, or another than in calm.
    missing: int
    wrong: int
    lost: int
    before: float
    after: float

    @property
    def held(self) -> list[str]:
        """The aims that were not reached."""
        missed = []
        if self.p99 >= AIM_P99_MS:
            missed.append(f"p99 {self.p99:.0f} ms")
        if self.missing:
            missed.append(f"{self.missing} without an answer")
        if self.wrong:
            missed.append(f"{self.wrong} wrong")
        if self.lost:
            missed.append(f"{self.lost} lost")
        if self.after > self.before * AIM_MEMORY:
            missed.append(f"memory +{(self.after / self.before - 1) * 100:.0f} %")
        return missed


def statuses(found: dict[str, int]) -> str:
    """``200 × 180, 503 × 2``."""
    return ", ".join(f"{status} × {many}" for status, many in sorted(found.items())) or "–"


def counted(values: Sequence[str]) -> dict[str, int]:
    """How often each."""
    return dict(Counter(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many are not above."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def page(rows: Sequence[Row], conditions: str) -> str:
    """``docs/security/storm.md``."""
    lines = [
        "# Under attack and outage",
        "",
        "`make storm` plays it and writes this page: two sites, *north* with the fault and *south* beside it, call at a steady rate with charts whose answers "
        "are known; every call is signed, every process is real. Times are those of the *other* site, south, from the moment a call was due, in brackets the 99th percentile of how late the client itself came to send it (it shares the machine). *Wrong*: another "
        "card than in calm. *Lost*: answered with 200 and not in the database at the end. Memory: all serving processes, before the fault and some seconds after it.",
        "",
        f"Aims: p99 of the other site below {AIM_P99_MS:.0f} ms; no wrong or missing answer; nothing acknowledged lost; memory back within {(AIM_MEMORY - 1) * 100:.0f} %.",
        "",
        conditions,
        "",
        "| fault | north | south | the attack got | south p50 / p99 ms (client late) | no answer | wrong | lost | MB before → after | aims missed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.fault} | {statuses(row.north)} | {statuses(row.south)} | {statuses(row.attack)} | {row.p50:.1f} / {row.p99:.1f} ({row.late:.0f}) "
        f"| {row.missing} | {row.wrong} | {row.lost} | {row.before:.0f} → {row.after:.0f} | {', '.join(row.held) or 'none'} |"
        for row in rows
    ]
    lines += ["", "## The faults", ""]
    lines += [f"- **{row.fault}**: {row.means}" for row in rows]
    return "\n".join(lines) + "\n"
