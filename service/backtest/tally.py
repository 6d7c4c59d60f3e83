"""What a backtest counts. Its size depends on rules, policies and months, never on the number of patients."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field

from service.alerts.say.finding import SEVERITY_RANK, Finding
from service.backtest.export import Faults

SILENT = "none"


class Month(Struct):
    """One month under one policy."""

    orders: int = 0
    signings: int = 0
    alerts: dict[str, int] = field(default_factory=dict)


class Tally(Struct):
    """Counts of one partition, or of all."""

    #: Patients with a record of clozapine.
    patients: int = 0
    #: Patients with at least one order (or day) that was evaluated.
    evaluated_patients: int = 0
    evaluations: int = 0
    #: Orders whose record has no date.
    undated_orders: int = 0
    results: int = 0
    slow_results: int = 0
    orders: Counter[str] = field(default_factory=Counter)
    #: Orders signed at the same moment are one signing: one call of the service.
    signings: Counter[str] = field(default_factory=Counter)
    #: Orders on a day on which no policy of the chain was in force.
    not_in_force: Counter[str] = field(default_factory=Counter)
    #: (policy, code, severity)
    alerts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    #: Signings by their most severe alert: (policy, severity or ``none``)
    worst: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: (policy, ``2026-03``)
    months: dict[tuple[str, str], Month] = field(default_factory=dict)
    #: Rules that failed.
    rule_faults: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)

    def add(self, policy: str, month: str, orders: int, findings: list[Finding]) -> None:
        """Count what one signing (or one day) showed under one policy."""
        kept = self.months.get((policy, month))
        if kept is None:
            kept = self.months[policy, month] = Month()
        kept.orders += orders
        kept.signings += 1
        self.orders[policy] += orders
        self.signings[policy] += 1
        for finding in findings:
            self.alerts[policy, finding.code, finding.severity] += 1
            kept.alerts[finding.severity] = kept.alerts.get(finding.severity, 0) + 1
        worst = max((f.severity for f in findings), key=SEVERITY_RANK.__getitem__, default=None)
        self.worst[policy, worst or SILENT] += 1

    def merge(self, other: Tally) -> None:
        """Add the counts of another partition."""
        for name in (
            "patients",
            "evaluated_patients",
            "evaluations",
            "undated_orders",
            "results",
            "slow_results",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("orders", "signings", "not_in_force", "alerts", "worst", "rule_faults"):
            getattr(self, name).update(getattr(other, name))
        for key, month in other.months.items():
            kept = self.months.setdefault(key, Month())
            kept.orders += month.orders
            kept.signings += month.signings
            for severity, count in month.alerts.items():
                kept.alerts[severity] = kept.alerts.get(severity, 0) + count
        self.faults.merge(other.faults)
