"""The ledger over generated Bundles: given = read + irrelevant + not understood, whatever comes, from where, and however often."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.alerts.facts.ledger import Ledger
from service.judge import JudgeError, judge
from tests.data import (
    KEYS,
    NOW,
    PATIENT,
    anc,
    bundle,
    call,
    clozapine,
    day_ago,
    observation,
    on_clozapine,
    order,
    prefetch,
)

Json = dict[str, Any]
_HERE = {"subject": {"reference": f"Patient/{PATIENT}"}}
_NAMES = st.sampled_from(
    [
        "clozapine 100 MG Oral Tablet",
        "paracetamol 500 mg",
        "fluvoxamine 50 mg",
        "blue tablets",
        "",
        "Leponex",
        "x" * 600,
    ]
)
_DATES = st.sampled_from(
    [day_ago(3), day_ago(40), "2026-11", "2026", "2026-13-45", "", "0001-01-01", "9999-12-31"]
)
_STATUS = st.sampled_from(
    [
        "active",
        "completed",
        "stopped",
        "not-taken",
        "entered-in-error",
        "cancelled",
        "final",
        "Active",
        "weird",
        "",
    ]
)
_CODES = st.sampled_from(
    ["751-8", "6690-2", "770-8", "30451-9", "2951-2", "8310-5", "67151-1", "no-code", ""]
)
_UNITS = st.sampled_from(["10*3/uL", "/uL", "G/l", "%", "bananas", None])
_SUBJECTS = st.sampled_from(
    [
        f"Patient/{PATIENT}",
        f"Patient/{PATIENT}",
        f"https://ehr.example/fhir/Patient/{PATIENT}",
        "Patient/other",
        "Group/1",
    ]
)


@st.composite
def _records(draw: st.DrawFn) -> Json:
    """A resource of one of the types that come, sound or not."""
    kind = draw(
        st.sampled_from(
            [
                "Observation", "Observation", "MedicationRequest", "MedicationRequest", "MedicationStatement", "MedicationDispense",
                "MedicationAdministration", "Condition", "AllergyIntolerance", "DiagnosticReport", "ServiceRequest", "Medication", "Patient",
                "OperationOutcome", "Appointment", "Provenance", "MedicationOrder", "Zebra",
            ]
        )
    )  # fmt: skip
    made: Json = {"resourceType": kind, "id": draw(st.sampled_from(["a", "b", "c", "d", "e", "f"]))}
    made |= {"status": draw(_STATUS), "subject": {"reference": draw(_SUBJECTS)}}
    if kind == "Observation":
        made = (
            observation(draw(_CODES), draw(st.floats(0, 200).map(lambda v: round(v, 2))), draw(_UNITS)) | made
        )
        made["effectiveDateTime"] = draw(_DATES)
    elif kind.startswith("Medication"):
        named: Json = {"medicationCodeableConcept": {"text": draw(_NAMES)}}
        made |= draw(st.sampled_from([named, {"medicationReference": {"reference": "Medication/a"}}, {}]))
        made |= {
            "effectiveDateTime": draw(_DATES),
            "authoredOn": draw(_DATES),
            "whenHandedOver": draw(_DATES),
        }
        made |= {
            "dosageInstruction": [
                {"text": draw(st.sampled_from(["1 tablet at night", "as discussed", "", "100 mg"]))}
            ]
        }
    elif kind in ("Condition", "AllergyIntolerance", "ServiceRequest"):
        made["code"] = draw(
            st.sampled_from(
                [
                    {"text": "myocarditis"},
                    {"text": "penicillin"},
                    {"coding": [{"system": "urn:own", "code": "7"}]},
                    {},
                ]
            )
        )
    elif kind == "DiagnosticReport":
        made["contained"] = draw(
            st.lists(st.sampled_from([anc(2.0, id="k"), {"resourceType": "Specimen"}]), max_size=3)
        )
    elif kind == "OperationOutcome":
        made = {
            "resourceType": kind,
            "issue": [{"severity": draw(st.sampled_from(["error", "warning"])), "code": "timeout"}],
        }
    for spoilt in draw(st.lists(st.sampled_from(sorted(made)), max_size=1)):
        if spoilt != "resourceType":
            made[spoilt] = draw(st.sampled_from([None, 7, "", [], {}, [None], "x", True]))
    return made


_SOURCES = st.dictionaries(st.sampled_from(KEYS[1:]), st.lists(_records(), max_size=6), max_size=6)


def _judged(sent: dict[str, list[Json]], drafts: list[Json]) -> Ledger | None:
    """None where the call as a whole is refused."""
    given_ = {key: bundle(*records) for key, records in sent.items()}
    asked = call("order-sign" if drafts else "patient-view", prefetch(**given_), *drafts)
    try:
        return judge(asked, as_of=NOW).ledger
    except JudgeError:
        return None


def _holds(ledger: Ledger) -> None:
    """given = read + irrelevant + not understood, of the sums and of the lines alike."""
    sums = ledger.read + sum(ledger.irrelevant.values()) + sum(ledger.not_understood.values())
    assert ledger.given == sums, ledger.sums()
    assert ledger.is_balanced
    lines = [e for e in ledger.entries if not e.element]
    assert len(lines) == ledger.given
    fates = Counter(e.fate for e in lines)
    assert fates["read"] == ledger.read
    assert fates["irrelevant"] == sum(ledger.irrelevant.values())
    assert fates["not understood"] == sum(ledger.not_understood.values())
    assert all(e.why for e in lines if e.fate != "read")


@given(_SOURCES, st.lists(_records(), max_size=2))
def test_the_sums_match(sent: dict[str, list[Json]], drafts: list[Json]) -> None:
    ledger = _judged(sent, drafts)
    if ledger is not None:
        _holds(ledger)


@given(_SOURCES)
@settings(max_examples=50)
def test_no_resource_is_lost(sent: dict[str, list[Json]]) -> None:
    """Each entry of each Bundle is given: what is sent more, is accounted for more."""
    nothing, all_of_it = _judged({}, []), _judged(sent, [])
    assert nothing is not None
    assert all_of_it is not None
    # labs and vitals of the empty call are a sound baseline, which a source of its own replaces.
    own = {key: len(bundle(*records)["entry"]) for key, records in sent.items()}
    base = prefetch()
    replaced = sum(len((base[key] or {"entry": []})["entry"]) for key in sent)
    inside = sum(
        1
        for records in sent.values()
        for r in records
        if r.get("resourceType") == "DiagnosticReport" and isinstance(r.get("contained"), list)
        for c in r["contained"]
        if isinstance(c, dict) and c.get("resourceType") == "Observation"
    )
    least = nothing.given - replaced + sum(own.values())
    assert least <= all_of_it.given <= least + inside


@given(st.lists(_records(), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_the_order_of_entries_changes_no_sum(records: list[Json], chance: Any) -> None:
    mixed = copy.deepcopy(records)
    chance.shuffle(mixed)
    one, other = _judged({"medications": records}, []), _judged({"medications": mixed}, [])
    assert one is not None
    assert other is not None
    assert one.given == other.given


_EXAMPLES = Path(__file__).parents[2] / "examples"
_REAL = sorted(p for p in _EXAMPLES.glob("*/request.json") if "prefetch" in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", _REAL, ids=lambda p: p.parent.name)
def test_real_shaped_bundles_with_one_thing_more(path: Path) -> None:
    """A whole chart, and what no rule knows beside it: one more is given, and one more not understood."""
    body = json.loads(path.read_text(encoding="utf-8"))
    before = judge(body, as_of=NOW).ledger
    _holds(before)
    for key, source in body["prefetch"].items():
        if isinstance(source, dict) and source.get("resourceType") == "Bundle" and source.get("entry"):
            more = copy.deepcopy(body)
            more["prefetch"][key]["entry"].append({"resource": {"resourceType": "Zebra", "id": "z"} | _HERE})
            more["prefetch"][key].pop("total", None)
            after = judge(more, as_of=NOW).ledger
            _holds(after)
            assert after.given == before.given + 1
            assert sum(after.not_understood.values()) == sum(before.not_understood.values()) + 1


def test_a_sound_chart_is_read_to_its_last_resource() -> None:
    """The property is not held by calling everything “not understood”."""
    ledger = _judged(
        {"medications": [on_clozapine(), order("ibuprofen", id="x", status="active")], "counts": [anc()]},
        [clozapine(300)],
    )
    assert ledger is not None
    assert not ledger.not_understood
    assert ledger.irrelevant == {"no-interaction": 1}
