"""The report of a backtest: rates by code, severity and policy; as JSON, CSV and a page for the committee."""

from __future__ import annotations

import csv
import io
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, select_autoescape
from msgspec import Struct

from service.alerts.policy.check import unconfirmed
from service.alerts.say.finding import SEVERITY_RANK
from service.alerts.say.finding_codes import title_of
from service.backtest.run import Outcome
from service.backtest.tally import SILENT

SEVERITIES = ("critical", "warning", "info")


class CodeRow(Struct, frozen=True, rename="camel"):
    """Alerts of one code and severity under one policy."""

    code: str
    title: str
    severity: str
    alerts: int
    per_100: float


class MonthRow(Struct, frozen=True, rename="camel"):
    """One month under one policy."""

    month: str
    orders: int
    critical: int
    warning: int
    info: int
    per_100: float


class PolicyResult(Struct, frozen=True, rename="camel"):
    """What one policy would have said."""

    label: str
    policies: tuple[str, ...]
    unconfirmed: int
    #: Orders evaluated, or days of treatment.
    orders: int
    signings: int
    not_in_force: int
    alerts: int
    per_100: float
    #: Shares of the signings (days), in %.
    with_critical_percent: float
    with_interruption_percent: float
    silent_percent: float
    by_severity: dict[str, int]
    codes: tuple[CodeRow, ...]
    months: tuple[MonthRow, ...]


class Report(Struct, frozen=True, rename="camel"):
    """Everything that is told; no patient can be recognised in it."""

    directory: str
    at: str
    unit: str
    first: str | None
    last: str | None
    time_zone: str
    results_known: str
    files: int
    lines: int
    unreadable: int
    unreadable_first: tuple[str, ...]
    missing_types: tuple[str, ...]
    declared_none: tuple[str, ...]
    patients: int
    evaluated_patients: int
    undated_orders: int
    slow_results_percent: float
    rule_faults: dict[str, int]
    seconds_reading: float
    seconds_evaluating: float
    patients_per_second: float
    policies: tuple[PolicyResult, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know before believing the numbers, worst first."""
        notes: list[str] = []
        if self.rule_faults:
            notes.append(
                f"{sum(self.rule_faults.values())} evaluations had a rule that failed ({', '.join(self.rule_faults)}): "
                "their alerts are incomplete. Tell the maintainers."
            )
        if self.unreadable:
            notes.append(
                f"{self.unreadable} lines of the export could not be read; what they hold was not seen."
            )
        if self.missing_types:
            notes.append(
                f"Not in the export: {', '.join(self.missing_types)}. What depends on them counts as not checked (code "
                "data-unavailable). If the hospital keeps none of these, repeat with --none-of."
            )
        if self.slow_results_percent >= 5:
            notes.append(
                f"{self.slow_results_percent:g} % of the results were issued more than 7 days after their sample. If “issued” is the day "
                "the data were loaded, repeat with --results-known collected."
            )
        if self.undated_orders:
            notes.append(f"{self.undated_orders} orders have no date and were not evaluated.")
        for policy in self.policies:
            if policy.not_in_force:
                notes.append(
                    f"{policy.label}: {policy.not_in_force} {self.unit}s lie outside the validity of the policy and were not evaluated."
                )
            if policy.unconfirmed:
                notes.append(
                    f"{policy.label}: {policy.unconfirmed} numbers are not confirmed against the primary text (see its policy page)."
                )
        return tuple(notes)


def _rate(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def report_of(outcome: Outcome) -> Report:
    """The report of a finished backtest."""
    options, tally = outcome.options, outcome.tally
    seconds = outcome.seconds_evaluating
    return Report(
        directory=options.directory.name,
        at=options.at,
        unit="order" if options.at == "order" else "day",
        first=options.first.isoformat() if options.first else None,
        last=options.last.isoformat() if options.last else None,
        time_zone=str(options.site.zone),
        results_known=options.results,
        files=outcome.files,
        lines=outcome.export.lines,
        unreadable=tally.faults.count,
        unreadable_first=tuple(tally.faults.named),
        missing_types=outcome.missing_types,
        declared_none=tuple(sorted(options.none_of)),
        patients=tally.patients,
        evaluated_patients=tally.evaluated_patients,
        undated_orders=tally.undated_orders,
        slow_results_percent=_rate(tally.slow_results, tally.results),
        rule_faults=dict(tally.rule_faults),
        seconds_reading=round(outcome.seconds_reading, 3),
        seconds_evaluating=round(seconds, 3),
        patients_per_second=round(tally.patients / seconds, 1) if seconds else 0.0,
        policies=tuple(_policy(outcome, index) for index in range(len(options.protocols))),
    )


def _policy(outcome: Outcome, index: int) -> PolicyResult:
    protocol, tally = outcome.options.protocols[index], outcome.tally
    label = protocol.label
    orders, signings = tally.orders[label], tally.signings[label]
    rows = sorted(
        (
            CodeRow(code, title_of(code), severity, count, _rate(count, orders))
            for (policy, code, severity), count in tally.alerts.items()
            if policy == label
        ),
        key=lambda row: (-SEVERITY_RANK[row.severity], -row.alerts, row.code),
    )
    worst = {s: tally.worst[label, s] for s in (*SEVERITIES, SILENT)}
    months = []
    for (policy, name), month in sorted(tally.months.items()):
        if policy == label:
            critical, warning, info = (month.alerts.get(s, 0) for s in SEVERITIES)
            rate = _rate(critical + warning + info, month.orders)
            months.append(MonthRow(name, month.orders, critical, warning, info, rate))
    total = sum(row.alerts for row in rows)
    members = protocol.chain or (protocol.policy,)
    return PolicyResult(
        label=label,
        policies=tuple(p.id for p in members),
        unconfirmed=max(len(unconfirmed(p)) for p in members),
        orders=orders,
        signings=signings,
        not_in_force=tally.not_in_force[label],
        alerts=total,
        per_100=_rate(total, orders),
        with_critical_percent=_rate(worst["critical"], signings),
        with_interruption_percent=_rate(worst["critical"] + worst["warning"], signings),
        silent_percent=_rate(worst[SILENT], signings),
        by_severity={s: sum(row.alerts for row in rows if row.severity == s) for s in SEVERITIES},
        codes=tuple(rows),
        months=tuple(months),
    )


def as_json(report: Report) -> bytes:
    """The report with its notes."""
    content: dict[str, Any] = msgspec.to_builtins(report)
    return msgspec.json.format(msgspec.json.encode(content | {"notes": report.notes}))


def as_csv(report: Report) -> str:
    """One row for each policy, code and severity."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["policy", "code", "severity", "alerts", f"{report.unit}s", f"alerts_per_100_{report.unit}s"]
    )
    for policy in report.policies:
        for row in policy.codes:
            writer.writerow([policy.label, row.code, row.severity, row.alerts, policy.orders, row.per_100])
    return text.getvalue()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("service"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
    )


class Bar(Struct, frozen=True):
    """One code under all policies, for the plot."""

    title: str
    code: str
    #: For each policy: (severity, alerts per 100) of its parts.
    parts: tuple[tuple[tuple[str, float], ...], ...]


def _exact(row: CodeRow, policy: PolicyResult) -> float:
    """Alerts per 100, not rounded: parts of a bar must add up to its end."""
    return 100 * row.alerts / policy.orders if policy.orders else 0.0


def bars(report: Report) -> tuple[Bar, ...]:
    """Codes by how often they fire under any policy, most frequent first."""
    totals: dict[str, float] = {}
    for policy in report.policies:
        per_code: dict[str, float] = {}
        for row in policy.codes:
            per_code[row.code] = per_code.get(row.code, 0.0) + _exact(row, policy)
        for code, rate in per_code.items():
            totals[code] = max(totals.get(code, 0.0), rate)
    return tuple(
        Bar(
            title_of(code),
            code,
            tuple(
                tuple((row.severity, _exact(row, policy)) for row in policy.codes if row.code == code)
                for policy in report.policies
            ),
        )
        for code in sorted(totals, key=lambda code: (-totals[code], code))
    )


def as_html(report: Report) -> str:
    """The page for the committee: one file without anything from outside."""
    plotted = bars(report)
    scale = max((sum(rate for _, rate in part) for bar in plotted for part in bar.parts), default=1.0)
    highest = max((m.per_100 for p in report.policies for m in p.months), default=1.0)
    return (
        _environment()
        .get_template("backtest.html")
        .render(
            report=report, bars=plotted, scale=scale or 1.0, highest=highest or 1.0, severities=SEVERITIES
        )
    )
