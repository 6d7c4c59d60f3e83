"""The processes of one ``serve --workers N``: each tells the others what it has counted and how it is, so that any of them can answer for all.

Through files in a folder of their own, written every two seconds: what is asked of one process may be that much behind for the others. Counts
of a process that has ended are kept, for a counter never falls; a kill takes what was counted since the last file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from service.ops.health import Status

EVERY_SECONDS = 2.0
#: A process that has told nothing for so long hangs, or is being started.
_SILENT_SECONDS = 10.0
#: Gauges of which the largest is said; of all others the sum.
LARGEST = frozenset({"clozapine_cds_record_oldest_seconds", "clozapine_cds_servers_left_alone"})
_ENDED = "ended.json"
_SUFFIX = ".json"


class Family(msgspec.Struct, frozen=True):
    """One metric with its samples: (name, labels, value)."""

    name: str
    text: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]


class Told(msgspec.Struct, frozen=True):
    """What one process tells of itself. ``at``: seconds, monotonic, of the machine."""

    number: int
    at: float
    families: list[Family]
    status: Status = "pass"
    #: Why it is not well, by check.
    reasons: dict[str, str] = {}


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Metrics as they are told; the moment at which a counter was made is left out."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(s.name, dict(s.labels), s.value) for s in metric.samples if not s.name.endswith("_created")],
        )
        for metric in metrics
    ]


def together(told: Iterable[list[Family]]) -> Iterator[Metric]:
    """The metrics of several processes as one."""
    known: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in told:
        for family in families:
            if family.name not in known:
                known[family.name] = Metric(family.name, family.text, family.kind)
            of_all = values.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = name, tuple(labels.items())
                before = of_all.get(key)
                if before is None:
                    of_all[key] = value
                else:
                    of_all[key] = max(before, value) if family.name in LARGEST else before + value
    for name, metric in known.items():
        for (sample, pairs), value in values[name].items():
            metric.add_sample(sample, dict(pairs), value)
        yield metric


def _written(path: Path, told: Told) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(told))
    part.replace(path)


def _read(path: Path) -> Told | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Told)
    except (OSError, msgspec.DecodeError):
        return None


def fold(folder: Path, pid: int) -> None:
    """Keep the counts of a process that has ended."""
    for path in folder.glob(f"*-{pid}{_SUFFIX}"):
        ended = [told for told in (_read(folder / _ENDED), _read(path)) if told is not None]
        counts = [[f for f in told.families if f.kind != "gauge"] for told in ended]
        _written(folder / _ENDED, Told(0, 0.0, families_of(together(counts))))
        path.unlink(missing_ok=True)


class Siblings:
    """The other processes, seen from one of them.

    Args:
        folder: of all of them.
        number: of this one, from 1.
        many: of them all.
    """

    def __init__(self, folder: Path, number: int, many: int) -> None:
        self.number = number
        self.many = many
        self._folder = folder
        self._own = folder / f"{number}-{os.getpid()}{_SUFFIX}"

    def tell(self, families: list[Family], document: dict[str, Any]) -> None:
        """Write what the others read. Raises OSError."""
        reasons = {
            name: check[0]["output"]
            for name, check in document["checks"].items()
            if check[0]["status"] != "pass"
        }
        _written(self._own, Told(self.number, time.monotonic(), families, document["status"], reasons))

    def others(self) -> list[Told]:
        """What the others have told last, and what is left of those that have ended (number 0)."""
        found = (_read(path) for path in self._folder.glob(f"*{_SUFFIX}") if path != self._own)
        return [told for told in found if told is not None]

    def all_metrics(self, registry: CollectorRegistry) -> CollectorRegistry:
        """The metrics of all processes, as a registry that can be exposed."""
        told = [families_of(registry.collect()), *(other.families for other in self.others())]
        summed = CollectorRegistry()
        summed.register(_Summed(list(together(told))))
        return summed

    @property
    def trouble(self) -> str:
        """What is wrong with the others; empty when nothing is."""
        now = time.monotonic()
        said: list[str] = []
        heard = set()
        for other in sorted(self.others(), key=lambda told: told.number):
            if other.number == 0:
                continue
            heard.add(other.number)
            if now - other.at > _SILENT_SECONDS:
                said.append(f"process {other.number} has said nothing for {now - other.at:.0f} s")
            said += [
                f"process {other.number}: {name}: {why}"
                for name, why in other.reasons.items()
                if name != "processes"
            ]
        missing = sorted(set(range(1, self.many + 1)) - heard - {self.number})
        if missing:
            said.append(f"not running: process {', '.join(map(str, missing))}")
        return "; ".join(said)


class _Summed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """As Prometheus reads it."""
        return iter(self._metrics)
