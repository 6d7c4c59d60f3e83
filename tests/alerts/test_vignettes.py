"""Every vignette gives exactly the findings it states, and every finding can be read and traced."""

from __future__ import annotations

from typing import Any

import pytest

from tests.alerts.vignette import findings, rows

ROWS = rows()


@pytest.mark.parametrize(("about", "row"), [(a, r) for _, a, r in ROWS], ids=[name for name, _, _ in ROWS])
def test_vignette(about: list[str], row: dict[str, Any]) -> None:
    found = findings(row)
    judged = sorted(
        f"{f.code} {f.severity}" for f in found if any(f.code.startswith(prefix) for prefix in about)
    )
    assert judged == sorted(row["expect"])
    for finding in found:
        assert len(finding.summary) < 140, finding.summary
        assert finding.why or finding.missing
        assert finding.evidence or finding.missing, (
            f"{finding.code} has neither evidence nor says what is missing"
        )
        assert finding.suggested
        assert "No rule" not in finding.summary


def test_there_are_vignettes() -> None:
    assert len(ROWS) >= 150
