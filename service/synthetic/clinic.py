"""A clinic: invented patients as transaction Bundles, as hook calls with a full prefetch, and as a Bulk Data export."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs

import orjson

from service.fhir.queries import QUERIES
from service.synthetic.chart import Chart, make_chart
from service.synthetic.coding import Json
from service.synthetic.stories import stories

HOOKS = ("patient-view", "order-select", "order-sign")


def clinic(patients: int, *, seed: int, as_of: datetime) -> Iterator[Chart]:
    """Charts of so many patients. After the last story the first comes again, told of another patient.

    Args:
        patients: how many.
        seed: the same seed gives the same clinic, to the byte.
        as_of: the moment of the question, with a time zone; the charts end there.
    """
    told = stories()
    for number in range(1, patients + 1):
        yield make_chart(told[(number - 1) % len(told)], seed=seed, number=number, as_of=as_of)


def transaction(chart: Chart) -> Json:
    """The chart as one transaction that a FHIR server stores under the ids of the chart; playing it twice changes nothing."""
    # Whatever is referred to comes first: some servers insist.
    order = {"Patient": 0, "Medication": 1}
    entries = sorted(chart.resources, key=lambda r: order.get(r["resourceType"], 2))
    return {
        "resourceType": "Bundle",
        "id": f"{chart.patient_id}-record",
        "type": "transaction",
        "entry": [
            {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
            for r in entries
        ],
    }


def hook_call(chart: Chart, hook: str, *, with_prefetch: bool = True) -> Json:
    """The CDS Hooks request an EHR would send about this patient, with or without prefetch."""
    context: Json = {
        "userId": "Practitioner/synthetic-prescriber",
        "patientId": chart.patient_id,
        "encounterId": f"{chart.patient_id}-visit",
    }
    if hook != "patient-view":
        context["draftOrders"] = {
            "resourceType": "Bundle",
            "type": "collection",
            "entry": [{"resource": chart.draft}],
        }
    if hook == "order-select":
        context["selections"] = [f"MedicationRequest/{chart.draft['id']}"]
    call: Json = {"hook": hook, "hookInstance": f"{chart.patient_id}-{hook}", "context": context}
    return call | ({"prefetch": prefetch(chart)} if with_prefetch else {})


def prefetch(chart: Chart) -> Json:
    """What a client that knows the whole record answers to the prefetch templates of the service."""
    return {key: _answer(chart.resources, query) for key, query in QUERIES.items()}


def _answer(resources: Sequence[Json], query: str) -> Json:
    path, _, parameters = query.partition("?")
    type_name = path.partition("/")[0]
    found = [r for r in resources if r["resourceType"] == type_name]
    if not parameters:
        return found[0]
    codes = {c.rpartition("|")[2] for c in parse_qs(parameters).get("code", [""])[0].split(",") if c}
    if codes:
        found = [r for r in found if any(c["code"] in codes for c in r["code"]["coding"])]
    if type_name == "MedicationRequest":
        found += [r for r in resources if r["resourceType"] == "Medication"]
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": r} for r in found]}


def manifest(charts: Sequence[Chart], *, seed: int, as_of: datetime) -> Json:
    """Who is who, and what the service should find at which hook."""
    return {
        "seed": seed,
        "asOf": as_of.isoformat(),
        "policy": "us-label-2025",
        "patients": [
            {
                "id": chart.patient_id,
                "story": chart.story.id,
                "title": chart.story.title,
                "expect": {hook: chart.story.expected(hook) for hook in HOOKS},
            }
            for chart in charts
        ],
    }


def write(directory: Path, charts: Sequence[Chart], *, seed: int, as_of: datetime) -> int:
    """Write the clinic into ``directory``; gives the number of files. Raises OSError."""
    files: dict[str, bytes] = {"clinic.json": _pretty(manifest(charts, seed=seed, as_of=as_of))}
    export: dict[str, list[bytes]] = defaultdict(list)
    for chart in charts:
        files[f"transactions/{chart.patient_id}.json"] = _pretty(transaction(chart))
        for hook in HOOKS:
            files[f"calls/{chart.patient_id}-{hook}.json"] = _pretty(hook_call(chart, hook))
        for resource in chart.resources:
            export[resource["resourceType"]].append(orjson.dumps(resource) + b"\n")
    files |= {f"export/{type_name}.ndjson": b"".join(lines) for type_name, lines in export.items()}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return len(files)


def _pretty(content: Json) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
