"""Plays faults one after the other and judges what came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tools.storm.faults import FAULTS
from tools.storm.load import Call
from tools.storm.place import SITES, Place
from tools.storm.told import Row, counted, percentile

#: Of the time of a fault: so much it lasts, the rest is for recovery.
_LASTS = 0.65
_FIRST = "none"


def play(
    names: Sequence[str],
    *,
    seconds: float,
    per_second: float = 50.0,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """One row for each fault; the first must be ``none``, by which wrong answers are known.

    Args:
        names: of FAULTS.
        seconds: for each.
        per_second: ordinary calls of both sites.
        workers: processes of the service.
    """
    if names[0] != _FIRST:
        raise ValueError("begin with calm")
    played = []
    with Place(per_second, workers) as place:
        time.sleep(3)  # the first calls of processes that have just begun
        for name in names:
            say(name)
            began, before = time.monotonic(), place.service.megabytes()
            attack = FAULTS[name](place, seconds * _LASTS)
            time.sleep(max(2.0, began + seconds - time.monotonic()))
            played.append((name, began, time.monotonic(), attack, before, place.service.megabytes()))
        place.quiet()
        place.service.stop()
        place.service.process.wait(90)
        calls = list(place.calls())
        recorded = place.recorded()
    right = _right(calls, *played[0][1:3])
    rows = []
    for name, began, ended, attack, before, after in played:
        own = [call for call in calls if began <= call.at < ended]
        other = [call for call in own if call.site == SITES[1]]
        times = [call.milliseconds for call in other]
        north, south = (counted([str(c.status or c.fault) for c in own if c.site == site]) for site in SITES)
        rows.append(
            Row(
                fault=name,
                means=" ".join((FAULTS[name].__doc__ or "").split()),
                north=north,
                south=south,
                attack=attack,
                p50=percentile(times, 0.5),
                p99=percentile(times, 0.99),
                late=percentile([call.late for call in other], 0.99),
                missing=sum(1 for c in own if c.status != 200),
                wrong=sum(1 for c in own if c.status == 200 and c.found != right[c.chart]),
                lost=sum(1 for c in own if c.status == 200 and c.instance not in recorded),
                before=before,
                after=after,
            )
        )
    return rows


def _right(calls: Sequence[Call], began: float, ended: float) -> dict[int, list[str]]:
    """What each chart is answered with in calm, where there is no doubt. Raises RuntimeError where there is."""
    right: dict[int, list[str]] = {}
    for call in calls:
        if began <= call.at < ended and (
            call.status != 200 or right.setdefault(call.chart, call.found) != call.found
        ):
            raise RuntimeError(f"in calm, chart {call.chart}: {call.status} {call.fault} {call.found}")
    return right
