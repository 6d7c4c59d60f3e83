"""Counting without a lock tells Prometheus what its own client library would tell."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder

from service.ops.counters import Tally, Timings

_BOUNDS = (0.0005, 0.001, 0.5, 1.0)
_SECONDS = st.lists(
    st.one_of(st.sampled_from(_BOUNDS), st.floats(0, 3, allow_nan=False, allow_subnormal=False)), max_size=20
)


def _lines(registry: CollectorRegistry, accept: str) -> list[str]:
    encoder, _ = choose_encoder(accept)
    lines = encoder(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", 'q"\\\n'])), max_size=20), _SECONDS)
def test_the_same_numbers_as_the_client_library(counted: list[tuple[str, str]], seconds: list[float]) -> None:
    own, theirs = CollectorRegistry(), CollectorRegistry()
    tally, timings = Tally("calls", "Calls.", ["one", "two"]), Timings("took", "Time.", "one", _BOUNDS)
    own.register(tally)
    own.register(timings)
    counter = Counter("calls", "Calls.", ["one", "two"], registry=theirs)
    histogram = Histogram("took", "Time.", ["one"], buckets=_BOUNDS, registry=theirs)
    for labels in counted:
        tally.count(*labels)
        counter.labels(*labels).inc()
    for value in seconds:
        timings.observe("a", value)
        histogram.labels("a").observe(value)
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        assert _lines(own, accept) == _lines(theirs, accept)
