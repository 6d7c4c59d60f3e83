"""A short storm: a sample of what ``make storm`` plays for three minutes."""

from __future__ import annotations

import os

import pytest

from tools.storm.play import play


@pytest.mark.skipif(
    "FUZZ" not in os.environ, reason="a machine that is busy is a storm of its own: make storm, make fuzz"
)
def test_a_short_storm_costs_the_other_site_nothing() -> None:
    rows = play(
        ["none", "pathological texts", "database hangs", "SIGKILL of a worker"],
        seconds=5, per_second=12, workers=2,
    )  # fmt: skip
    assert [row.fault for row in rows] == [
        "none",
        "pathological texts",
        "database hangs",
        "SIGKILL of a worker",
    ]
    for row in rows:
        # A process that is killed takes the calls that it was answering; nothing else may go without an answer.
        most = 3 if row.fault == "SIGKILL of a worker" else 0
        assert (row.fault, row.missing <= most, row.wrong, row.lost) == (row.fault, True, 0, 0), row
        assert row.south.get("200", 0) >= 5, row
