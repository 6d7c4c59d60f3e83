"""The result of the same sample, found by halving, is the one that looking at each would find."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.alerts.case.samples import Samples, same_sample
from service.alerts.facts.patient import Measurement
from service.alerts.facts.record_text import RecordText

_START = datetime(2026, 11, 20, tzinfo=UTC)
_RANK = {"corrected": 0, "final": 1, "preliminary": 2}
_BOUND = {"<": 0, "": 1, ">": 2}
_DAYS = st.integers(0, 2).map(lambda n: _START + timedelta(days=n))
_MINUTES = st.integers(0, 24).map(lambda n: _START + timedelta(minutes=10 * n))


@st.composite
def _measurements(draw: st.DrawFn) -> Measurement:
    date_only = draw(st.booleans())
    return Measurement(
        "wbc",
        draw(st.sampled_from([1000.0, 2000.0, 3000.0])),
        draw(st.none() | (_DAYS if date_only else _MINUTES)),
        f"Observation/{draw(st.integers(0, 99))}",
        RecordText("x"),
        date_only,
        draw(st.sampled_from(["", "<", ">"])),
        draw(st.sampled_from(["final", "corrected", "preliminary"])),
        specimen=draw(st.sampled_from(["", "", "a", "b"])),
    )


def _key(m: Measurement, sample: Measurement) -> tuple[float, int, float, int]:
    known = m.at is not None and sample.at is not None
    apart = abs(m.at - sample.at).total_seconds() if known else 0.0  # type: ignore[operator]
    return apart, _RANK[m.status], m.value, _BOUND[m.bound]


def _one_by_one(found: list[Measurement], sample: Measurement) -> tuple[float, int, float, int] | None:
    """clinical.md 3.1: of one specimen, else taken within the hour; the nearest, the corrected one, the lowest."""
    same = [m for m in found if sample.specimen and m.specimen == sample.specimen]
    same = same or [
        m for m in found if m.specimen != sample.specimen or not m.specimen if same_sample(m, sample)
    ]
    return min((_key(m, sample) for m in same), default=None)


@given(st.lists(_measurements(), max_size=12), _measurements())
def test_halving_finds_what_looking_at_each_finds(found: list[Measurement], sample: Measurement) -> None:
    match = Samples(found).matching(sample)
    assert (None if match is None else _key(match, sample)) == _one_by_one(found, sample)


@given(st.lists(_measurements(), max_size=8), _measurements(), st.randoms())
def test_the_order_in_which_results_come_never_matters(
    found: list[Measurement], sample: Measurement, chance: object
) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Samples(found).matching(sample), Samples(shuffled).matching(sample)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert _key(one, sample) == _key(other, sample)
