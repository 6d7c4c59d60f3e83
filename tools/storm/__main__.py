"""``python -m tools.storm``: three minutes; prints the table and writes ``docs/security/storm.md``."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from tools.storm.faults import FAULTS
from tools.storm.play import play
from tools.storm.told import page

PAGE = Path(__file__).parents[2] / "docs/security/storm.md"
SECONDS = 180.0
PER_SECOND = 50.0
WORKERS = 2


def main() -> int:
    """Play all; exit status 1 where something was wrong, unanswered by the other site, or lost."""
    load = os.getloadavg()[0]
    rows = play(
        list(FAULTS), seconds=SECONDS / len(FAULTS), per_second=PER_SECOND, workers=WORKERS,
        say=lambda line: print(f"… {line}", file=sys.stderr, flush=True),
    )  # fmt: skip
    conditions = (
        f"{PER_SECOND:g} calls a second of both sites together, {WORKERS} processes, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores that also run PostgreSQL, the EHRs and the clients; load average before it {load:.1f}."
    )
    text = page(rows, conditions)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(row.wrong or row.lost for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
