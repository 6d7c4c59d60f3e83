"""Counting in a plain dictionary, told to Prometheus only when it asks: what every call counts must cost next to nothing.

The client library takes a lock for every count; these are counted in the event loop alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Tally(Collector):
    """A counter with labels.

    Args:
        name: without ``_total``.
        text: what it counts.
        labels: their names.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._labels = name, text, list(labels)
        self._counts: dict[tuple[str, ...], int] = {}

    def count(self, *labels: str, many: int = 1) -> None:
        """One more, or so many."""
        self._counts[labels] = self._counts.get(labels, 0) + many

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As Prometheus reads it."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family


class Timings(Collector):
    """A histogram of seconds with one label.

    Args:
        name: of the metric.
        text: what it measures.
        label: name of the label.
        bounds: upper bounds of the buckets, ascending; the last bucket has none.
    """

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._label = name, text, label
        self._bounds = tuple(bounds)
        self._ends = [*map(floatToGoString, self._bounds), "+Inf"]
        self._seen: dict[str, tuple[list[int], list[float]]] = {}

    def observe(self, label: str, seconds: float) -> None:
        """One more measurement."""
        seen = self._seen.get(label)
        if seen is None:
            seen = self._seen[label] = ([0] * len(self._ends), [0.0])
        seen[0][bisect_left(self._bounds, seconds)] += 1
        seen[1][0] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """As Prometheus reads it: each bucket holds those below it, too."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for label, (counts, total) in self._seen.items():
            so_far = 0
            buckets = []
            for end, count in zip(self._ends, counts, strict=True):
                so_far += count
                buckets.append((end, so_far))
            family.add_metric([label], buckets, total[0])
        yield family


class Reading(Collector):
    """A gauge with one label that is read when Prometheus asks.

    Args:
        name: of the metric.
        text: what it measures.
        label: name of the label.
        read: gives the values by label.
    """

    def __init__(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._text, self._label = name, text, label
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As Prometheus reads it."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for label, value in self._read().items():
            family.add_metric([label], value)
        yield family
