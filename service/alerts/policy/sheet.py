"""A policy as tables a pharmacist can sign off: every number, with its source and whether it was confirmed. HTML and Markdown are made from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from service.alerts.policy.parts.breaks import MissedDoseTier
from service.alerts.policy.parts.counts import Band, Basis, Recovery
from service.alerts.policy.parts.schedule import MonitoringTest, SchedulePhase
from service.alerts.policy.policy import Policy

#: What the heading of a page says already.
_IN_THE_HEADING = frozenset(
    {
        "id", "title", "jurisdiction", "inherits", "summary", "notes", "sources", "main_source", "valid_from", "valid_to",
        "superseded_by", "shared_from", "earlier", "confirmations",
    }
)  # fmt: skip
#: Parts with a table of their own.
_OWN_TABLES = ("bands", "schedule", "missed_dose", "monitoring")
_NOTED = "not confirmed"


class Table(Struct, frozen=True):
    """One section: a heading, what the protocol says, and rows under a header (none where there is nothing but words)."""

    title: str
    texts: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheet(policy: Policy) -> tuple[Table, ...]:
    """Every table of a policy, in the order a reader asks for them; no number of the policy is missing."""
    return (
        _parts_table("Before the first dose", policy, "start"),
        _bands("Blood count bands, general population", policy, "general"),
        *(
            [_bands("Blood count bands, benign ethnic neutropenia", policy, "ben")]
            if policy.has_ben_bands
            else ()
        ),
        _schedule(policy),
        _missed_doses(policy),
        _tests(policy),
        *(
            _parts_table(name.replace("_", " ").capitalize(), policy, name)
            for name in policy.__struct_fields__
            if name not in _IN_THE_HEADING
            and name not in _OWN_TABLES
            and name not in ("start", "unknown_start_every_days")
            and _has_rows(policy, name)
        ),
    )


def in_force(policy: Policy) -> str:
    """When a policy holds, what took its place, and from which day on what it shares with the others holds as the page shows it."""
    until = f" to {policy.valid_to}" if policy.valid_to else ""
    until += f", superseded by {policy.superseded_by}" if policy.superseded_by else ""
    shared = (
        f"; what all policies share as it holds from {policy.shared_from} on" if policy.shared_from else ""
    )
    return f"valid from {policy.valid_from}{until}{shared}"


def _cite(cited: Any) -> tuple[str, str]:
    """(source and section, "not confirmed" or nothing) of anything cited."""
    return f"{cited.source} {cited.section}".strip(), "" if cited.confirmed else _NOTED


def _bands(title: str, policy: Policy, population: str) -> Table:
    bands = [b for b in policy.bands if b.population == population]
    header = (
        "count",
        "band",
        "cells/µL",
        "clozapine",
        "finding",
        "sampling in the band",
        "what the protocol says",
        "source",
        "",
    )
    return Table(title, (), header, tuple(_band_row(b) for b in bands))


def _band_row(b: Band) -> tuple[str, ...]:
    finding = f"{b.finding} ({b.severity})" if b.finding else "–"
    words = [b.says, *_rest_of(b)]
    return (
        b.analyte.upper(), b.title, b.range_text, _treatment(b), finding, _sampling(b), " ".join(words), *_cite(b),
    )  # fmt: skip


def _treatment(b: Band) -> str:
    words: list[str] = [b.treatment]
    if b.stop_when_confirmed:
        words.append("when confirmed")
    if b.rechallenge:
        words.append(f"rechallenge {b.rechallenge.replace('-', ' ')}")
    if b.consult_hematology:
        words.append("hematology")
    return ", ".join(words)


def _sampling(b: Band) -> str:
    until = [f"until {b.until_normal} counts in a row are normal"] if b.until_normal != 1 else []
    if b.every_days is None:
        return "; ".join([b.every_label or "by the schedule", *until])
    words = [f"{b.every_label} (every {b.every_days} d{_basis(b.sampling)})"]
    if b.confirm_within_hours is not None:
        words.append(f"confirm within {b.confirm_within_hours} h")
    if b.confirmed_every_days is not None:
        words.append(f"once confirmed {b.confirmed_every_label} (every {b.confirmed_every_days} d)")
    if b.recovery is not None:
        words.append(f"after recovery {_recovery(b.recovery)}")
    return "; ".join([*words, *until])


def _basis(own: Basis | None) -> str:
    """`` [source, not confirmed]`` of a number with a source of its own."""
    return f" [{', '.join(filter(None, _cite(own)))}]" if own is not None else ""


def _recovery(r: Recovery) -> str:
    words = {
        "extra-counts": f"{r.counts} counts every {r.every_days} d",
        "lifelong": f"every {r.every_days} d for good",
        "new-patient": "as a new patient",
    }[r.kind]
    source, doubt = _cite(r)
    return f"{words} [{source}{', ' if doubt else ''}{doubt}]"


def _rest_of(b: Band) -> list[str]:
    return [f"Steps: {' '.join(b.steps)}"] if b.steps else []


def _schedule(policy: Policy) -> Table:
    def row(p: SchedulePhase) -> tuple[str, ...]:
        until = "for good" if p.until_day is None else f"day {p.until_day}"
        only = "without neutropenia only" if p.needs_no_neutropenia else "–"
        return until, p.label, f"{p.every_days} d", only, f"{p.due_soon_days} d before", *_cite(p)

    header = ("until", "blood count", "interval", "condition", "due soon is said", "source", "")
    unknown = policy.unknown_start_every_days
    basis = ", ".join(filter(None, (*_cite(unknown), unknown.note)))
    texts = (f"Start of treatment unknown: every {unknown.value:g} days ({basis}).",)
    return Table("Schedule while counts are normal", texts, header, tuple(map(row, policy.schedule)))


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _missed_doses(policy: Policy) -> Table:
    def row(t: MissedDoseTier) -> tuple[str, ...]:
        beyond = " beyond the dosing interval" if t.plus_dosing_interval else ""
        dose = (
            f"{_span(t.percent_low, t.percent_high)} % of the daily dose"
            if t.percent_low is not None and t.percent_high is not None
            else f"{t.single_mg:g} mg a dose"
            + (f", at most {t.mg_per_day:g} mg on the first day" if t.mg_per_day else "")
            if t.single_mg is not None
            else "–"
        )
        severity = f"{t.severity}; estimated: {t.severity_when_estimated}"
        basis = ", ".join(filter(None, (*_cite(t.gap), t.gap.note)))
        gap = f"{t.gap.comparator} {t.gap.value:g} h{beyond} [{basis}]"
        return gap, dose, severity, t.says, *_cite(t)

    header = ("gap since the last dose", "dose", "severity", "what the protocol says", "source", "")
    return Table("Missed doses", (policy.missed_dose_says,), header, tuple(map(row, policy.missed_dose)))


def _tests(policy: Policy) -> Table:
    def row(t: MonitoringTest) -> tuple[str, ...]:
        then = f"every {t.then_every_days} d" if t.then_every_days else "–"
        until = f"day {t.until_day}" if t.until_day else "–"
        baseline = (
            f"yes, at most {t.baseline_window_days} d old"
            if t.baseline
            else f"no ({t.baseline_window_days} d)"
        )
        early = f"{t.early_days} d early counts"
        which = f"all of {', '.join(t.all_kinds)}" if t.all_kinds else f"any of {', '.join(t.kinds)}"
        return (
            t.title, which, baseline, ", ".join(map(str, t.days)) or "–", then, f"{t.late_days} d late", until, early, t.severity, *_cite(t),
        )  # fmt: skip

    header = (
        "test", "results that satisfy it", "baseline", "due on day", "then", "flagged", "no longer from", "early", "severity", "source", "",
    )  # fmt: skip
    return Table("Organ monitoring", (), header, tuple(map(row, policy.monitoring)))


def _has_rows(policy: Policy, name: str) -> bool:
    return isinstance(getattr(policy, name), Struct)


def _parts_table(title: str, policy: Policy, name: str) -> Table:
    """A part of cited values: a row for each; its texts above."""
    node = msgspec.to_builtins(getattr(policy, name))
    texts: list[str] = []
    rows: list[tuple[str, ...]] = []
    for path, value in _walk("", node):
        if isinstance(value, dict):
            number = " ".join(
                str(x) for x in (value.get("comparator"), _said(value["value"]), value.get("unit")) if x
            )
            source = f"{value['source']} {value.get('section', '')}".strip()
            doubt = "" if value.get("confirmed", True) else _NOTED
            rows.append((path, number, source, doubt, value.get("note") or value.get("evidence", "")))
        elif isinstance(value, str) and " " in value:
            texts.append(value)
        else:
            rows.append((path, _said(value), "", "", ""))
    return Table(title, tuple(texts), ("value", "number", "source", "", "remark"), tuple(rows))


def _walk(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    """(words, cited value or plain value) of a part; a list of texts gives each of them."""
    if isinstance(node, dict) and "value" in node and "source" in node:
        yield path, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _walk(f"{path} {key.replace('_', ' ')}".strip(), child)
    elif isinstance(node, list | tuple) and node and all(isinstance(item, str) for item in node):
        for item in node:
            yield path, item
    elif isinstance(node, list | tuple) and node and all(_is_cited(item) for item in node):
        for n, item in enumerate(node, 1):
            own = {key: child for key, child in item.items() if key != "kind"}
            yield from _walk(f"{path} {item.get('kind', n)}", item if "value" in item else own)
    elif isinstance(node, list | tuple) and node and all(isinstance(item, dict) for item in node):
        for item in node:
            yield path, ", ".join(f"{key} {_said(value)}" for key, value in item.items())
    elif node not in (None, "", (), []):
        yield path, node


def _is_cited(item: Any) -> bool:
    """An item of a list that cites a source, itself or in a part."""
    return isinstance(item, dict) and ("source" in item or any(_is_cited(child) for child in item.values()))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "; ".join(
            " → ".join(map(_said, v)) if isinstance(v, list | tuple) else _said(v) for v in value
        )
    return str(value)
