"""How often the service speaks beside ordinary orders: ``python -m tools.noise`` (``make noise``).

Two lists of ordinary orders (``tests/ordinary-orders.csv``; the weights are an estimate of how often each is written) are ordered, one
by one, for a patient who is settled on clozapine, with a laxative and all monitoring done in time. Counted are the cards that name the
interaction, or say that the drug is not known, per 100 orders and for 100 orders weighted.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from msgspec import Struct

from service.alerts.policy.policy import policy_ids
from service.judge import judge
from tests.data import (
    NOW,
    anc,
    baseline_labs,
    bundle,
    call,
    clozapine,
    day_ago,
    normal_vitals,
    observation,
    order,
    prefetch,
)

ORDERS = Path(__file__).parents[1] / "tests" / "ordinary-orders.csv"
SEVERITIES = ("critical", "warning", "info")


class Ordered(Struct, frozen=True):
    """One ordinary order and how often it is written."""

    kind: str
    drug: str
    weight: float


class Noise(Struct, frozen=True):
    """Cards for 100 orders of a list under a policy, by severity: of the list as it is, and weighted."""

    policy: str
    kind: str
    plain: dict[str, float]
    weighted: dict[str, float]


@cache
def orders() -> tuple[Ordered, ...]:
    """The ordinary orders."""
    with ORDERS.open(encoding="utf-8") as file:
        return tuple(Ordered(r["list"], r["drug"], float(r["weight"])) for r in csv.DictReader(file))


def _patient() -> dict[str, object]:
    """Settled on clozapine for long, with a laxative; what is due was done."""
    labs = baseline_labs(20)["entry"]
    return prefetch(
        medications=bundle(
            clozapine(300, id="mr-1", status="active", authoredOn=day_ago(500)),
            order("senna 8.6 MG Oral Tablet", id="mr-2", status="active", authoredOn=day_ago(500)),
        ),
        counts=bundle(anc(3.4, 12), observation("6690-2", 6.1, "10*3/uL", 12, id="wbc-1")),
        labs={"resourceType": "Bundle", "type": "searchset", "total": len(labs), "entry": labs},
        vitals=normal_vitals(12),
    )


@cache
def spoken(drug: str, policy: str) -> tuple[tuple[str, str], ...]:
    """(finding code, indicator) of every card that an order of a drug draws."""
    answer = judge(call("order-sign", _patient(), order(drug)), policy=policy, as_of=NOW)
    return tuple((topic.code, card.indicator) for card in answer.cards if (topic := card.source.topic))


def noise(policy: str) -> Iterator[Noise]:
    """The cards for 100 orders of each list."""
    for kind in dict.fromkeys(o.kind for o in orders()):
        of_kind = [o for o in orders() if o.kind == kind]
        weight = sum(o.weight for o in of_kind)
        plain, weighted = dict.fromkeys(SEVERITIES, 0.0), dict.fromkeys(SEVERITIES, 0.0)
        for o in of_kind:
            for _, indicator in spoken(o.drug, policy):
                plain[indicator] += 100 / len(of_kind)
                weighted[indicator] += 100 * o.weight / weight
        yield Noise(policy, kind, plain, weighted)


def table() -> str:
    """The noise of every policy as a table in Markdown."""
    lines = [
        "| policy | list | " + " | ".join(f"{s} | {s}, weighted" for s in SEVERITIES) + " |",
        "|" + "---|" * (2 + 2 * len(SEVERITIES)),
    ]
    for policy in policy_ids():
        for n in noise(policy):
            figures = " | ".join(f"{n.plain[s]:.1f} | {n.weighted[s]:.1f}" for s in SEVERITIES)
            lines.append(f"| `{policy}` | {n.kind} | {figures} |")
    return "\n".join(lines)


def main() -> int:
    """See the module."""
    if len(sys.argv) > 1:
        for o in orders():
            said = ", ".join(f"{code} {indicator}" for code, indicator in spoken(o.drug, sys.argv[1]))
            if said:
                print(f"{o.kind}\t{o.weight:g}\t{o.drug}\t{said}")
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
