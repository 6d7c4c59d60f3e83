"""Why something was not read is data: no language is written where facts are made, so that a further one only adds files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from msgspec import Raw

from service.alerts.case import remembered
from service.alerts.facts.patient import NO_VALUE, PatientSnapshot, UnusableResult
from service.alerts.facts.reason import NO_REASON, Reason, because, restored, stored
from service.alerts.knowledge.conditions import condition_kinds
from service.alerts.say.language import english
from service.alerts.say.sentence import Why, explained
from service.fhir import snapshot
from service.fhir.gather import from_prefetch
from service.fhir.queries import QUERIES
from tests.data import NOW, PATIENT, anc, bundle, clozapine, observation, on_clozapine, words
from tests.texts import EXAMPLES

Json = dict[str, Any]
_SERVICE = Path(__file__).parents[2] / "service"
_HL7 = "http://example.org"


def _facts(sources: Json, drafts: Json | None = None) -> PatientSnapshot:
    given = {source: Raw(orjson.dumps(value)) for source, value in sources.items() if value is not None}
    gathered, _ = from_prefetch(given, dict.fromkeys(QUERIES))
    orders = Raw(orjson.dumps(drafts)) if drafts else None
    return snapshot.build(
        patient_id=PATIENT, hook="order-sign", zone=NOW.tzinfo, gathered=gathered, orders=orders
    )  # type: ignore[arg-type]


def _reasons(node: Any) -> Iterator[Reason]:
    """Every reason in facts, those within reasons too."""
    if isinstance(node, Reason):
        if node:
            yield node
        for value in node.params.values():
            yield from _reasons(value)
    elif isinstance(node, msgspec.Struct):
        for field in node.__struct_fields__:
            yield from _reasons(getattr(node, field))
    elif isinstance(node, dict):
        for value in node.values():
            yield from _reasons(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _reasons(value)


def _quotes(facts: PatientSnapshot) -> Iterator[str]:
    """What facts hold as text of the record: of results and problems."""
    for result in (*(m for found in facts.measurements.values() for m in found), *facts.unusable):
        yield result.raw
    for problem in facts.problems:
        yield problem.label


def _texts(reason: Reason) -> Iterator[str]:
    """The texts that stand in a reason itself."""
    for value in reason.params.values():
        yield from (v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, str))


def _check(facts: PatientSnapshot, sent: bytes) -> list[str]:
    """The ids of what was said; each has a sentence with its parameters, and holds no text but the record's and names of types."""
    found = list(_reasons(facts))
    record = " ".join(sent.decode().replace("\\u00b5", "µ").split()).lower()
    for reason in found:
        template = english().templates[reason.id]
        assert {name for _, name in template if name} == set(reason.params), reason
        for text in _texts(reason):
            parts = [part.strip().lower().rstrip("…") for part in text.replace(" + ", " ").split()]
            assert all(part in record for part in parts) or " " not in text, reason
    for quote in _quotes(facts):
        assert all(part in record for part in quote.lower().split()), f"{quote!r} was not sent"
    return [reason.id for reason in found]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.parent.name)
def test_the_examples_are_read_without_a_word_of_our_own(path: Path) -> None:
    sent = path.read_bytes()
    request = orjson.loads(sent)
    drafts = request["context"].get("draftOrders") or request["context"].get("medications")
    _check(_facts(request.get("prefetch", {}), drafts), sent)


def _line(value: Any, unit: Any = "mg", **more: Any) -> Json:
    often = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}
    return {"timing": often, "doseAndRate": [{"doseQuantity": {"value": value, "unit": unit}}], **more}


def _dosed(line: Any) -> Json:
    return _drafted(clozapine(100) | {"dosageInstruction": [line]})


def _drafted(order: Json) -> Json:
    return {"draft": order}


_TEXTS = (
    "as agreed with the ward", "1/2 tablets at night", "1 2 (three) tablets", "75 tablets daily", "12.5", "90 at night", "2 ml nocte",
    "3 to 1 tablets nocte", "12,5-0-12,5", "8 am", "100 mg/ml nocte", "100 mg nocte 200 mg", "1 tablet or 2 tablets", "100 mg",
    "100 mg every third night", "100 mg alternate days", "100 mg every 3 days", "100 mg at night and at night", "max 2 tablets daily",
    "1-2 tablets at night", "100 mg daily in 2 divided doses", "2 tablets of 50 mg nocte",
)  # fmt: skip
_RECORDS = {
    **{text: _dosed({"text": text}) for text in _TEXTS},
    "tablets of no strength": _drafted(clozapine(100) | {"dosageInstruction": [_line(2, "tablet")]} | {"medicationCodeableConcept": {"text": "clozapine"}}),
    "another unit": _dosed(_line(2, "drachm of clay")),
    "no unit": _dosed(_line(2, None)),
    "two ways": _dosed(_line(300, text="1 tablet nocte")),
    "negative": _dosed(_line(-1)),
    "zero": _dosed(_line(0)),
    "not an object": _dosed("100 mg"),
    "no weekday": _dosed(_line(100) | {"timing": {"repeat": {"dayOfWeek": ["someday"]}}}),
    "some days": _dosed(_line(100) | {"timing": {"repeat": {"dayOfWeek": ["mon", "tue"]}}}),
    "no timing": _dosed(_line(100) | {"timing": {}}),
    "a date that is none": {"medications": on_clozapine() | {"authoredOn": "2026-02-30"}},
    "an unknown status": {"medications": on_clozapine() | {"status": "paused for now"}},
    "a modifier": {"medications": on_clozapine() | {"modifierExtension": [{"url": _HL7}]}},
    "no product": {"medications": {k: v for k, v in on_clozapine().items() if k != "medicationCodeableConcept"}},
    "a product elsewhere": {
        "medications": {k: v for k, v in on_clozapine().items() if k != "medicationCodeableConcept"} | {"medicationReference": {"reference": "Medication/7"}}
    },
    "somebody else's": {"medications": on_clozapine() | {"subject": {"reference": "Patient/other"}}},
    "a broken order": {"medications": on_clozapine() | {"status": 7}},
    "another release": {"medications": {"resourceType": "MedicationOrder", "id": "o", "medicationCodeableConcept": {"text": "clozapine"}}},
    "no such unit": {"counts": anc(1.2, 1, "furlongs a week")},
    "a contradicting unit": {"counts": anc(1.2, 1, "%") | {"valueQuantity": {"value": 1.2, "unit": "%", "code": "10*3/uL"}}},
    "no unit at all": {"counts": anc(1.2, 1, None)},
    "a word": {"counts": observation("751-8", None, None, 1, valueCodeableConcept={"text": "very low"})},
    "a text": {"counts": observation("751-8", None, None, 1, valueString="see the report")},
    "no value": {"counts": observation("751-8", None, None, 1, dataAbsentReason={"text": "clotted on the way"})},
    "impossible": {"counts": anc(-3, 1)},
    "no date": {"counts": {k: v for k, v in anc(1.2, 1).items() if not k.startswith("effective")}},
    "an unknown result status": {"counts": anc(1.2, 1) | {"status": "almost done"}},
    "by its words": {
        "counts": anc(1.2, 1) | {"code": {"coding": [{"system": _HL7, "code": "n1", "display": "Absolute neutrophil count"}]}}
    },
    "a month": {"counts": anc(1.2, 1) | {"effectiveDateTime": "2026-10"}},
    "flagged without a number": {"labs": observation("67151-1", None, None, 1, interpretation=[{"coding": [{"code": "HH"}]}])},
    "a count flagged without a number": {"counts": observation("751-8", None, None, 1, interpretation=[{"coding": [{"code": "LL"}]}])},
    "yes": {"counts": observation("751-8", None, None, 1, valueBoolean=True)},
    "a series": {"counts": observation("751-8", None, None, 1, valueSampledData={"dimensions": 1})},
    "too many digits": {"counts": anc(1e300, 1)},
    "a problem without words": {"conditions": {"resourceType": "Condition", "id": "c", "subject": {"reference": f"Patient/{PATIENT}"}, "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "I40.9"}]}}},
    "too many parts": {"counts": anc(1.2, 1) | {"component": [{"code": {"text": "x"}}] * 201}},
    "a failed query": {"labs": {"resourceType": "OperationOutcome", "issue": []}},
    "another type": {"labs": {"resourceType": "Basic"}},
}  # fmt: skip


@pytest.mark.parametrize("shape", _RECORDS)
def test_an_odd_shape_is_said_without_a_word_of_our_own(shape: str) -> None:
    sent = _RECORDS[shape]
    drafts = bundle(sent["draft"]) if "draft" in sent else None
    sources = {
        source: value if value["resourceType"] in ("OperationOutcome", "Basic") else bundle(value)
        for source, value in sent.items()
        if source != "draft"
    }
    assert _check(_facts(sources, drafts), orjson.dumps(sent)), "nothing is said of it"


def test_reasons_are_written_by_their_ids() -> None:
    """In the code, too: a text of several words is none of a reason's parameters."""
    written = [
        f"{path.name}:{node.lineno}"
        for path in _SERVICE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "because"
        for value in (*node.args, *(k.value for k in node.keywords))
        for text in ast.walk(value)
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and len(text.value.split()) > 1
    ]
    assert not written


def test_a_reason_is_written_whole_and_made_safe_as_a_whole() -> None:
    inside = because("product.not-fetched", why=because("server.answered", status=503))
    assert words(inside) == "its product could not be read: the FHIR server answered 503"
    named = because("result-unused.named-only", name="*ANC* <b>")
    assert english().markdown(explained(named)).endswith("it is named “\\*ANC\\* &lt;b&gt;”")
    assert english().plain(explained(named)).endswith("…")  # a summary has little room
    assert words(because("dose-note.nothing-on", days=(because("weekday.sat"), because("weekday.sun")))) == (
        "not every day: nothing on Sat, Sun"
    )
    assert (words(NO_REASON), bool(NO_REASON)) == ("", False)
    assert Why(named) == Why(because("result-unused.named-only", name="*ANC* <b>"))


@pytest.mark.parametrize(
    "reason",
    [
        NO_REASON,
        because("unit.none"),
        because("product.not-fetched", why=because("server.answered", status=503)),
        because("dose-note.nothing-on", days=(because("weekday.sat"), because("weekday.sun"))),
        because("dose-unread.two-amounts", one=12.5, other=100.0),
    ],
    ids=repr,
)
def test_a_stored_reason_comes_back(reason: Reason) -> None:
    assert restored(stored(reason)) == reason


def test_facts_of_the_version_that_stored_words_are_still_read() -> None:
    """And what this one stores is a text in the same place, so that the version before it reads it, too."""
    unused = UnusableResult("anc", "1.2", because("unit.none"), "Observation/1")  # type: ignore[arg-type]
    facts = _facts({"medications": bundle(on_clozapine())})
    kept = orjson.loads(remembered.dump(msgspec.structs.replace(facts, unusable=(unused,))))
    (record,) = kept["medications"]
    assert (record["unread"], record["dose"]["unreadable"], record["dose"]["two_ways"]) == ("", "", "")
    assert isinstance(kept["unusable"][0]["reason"], str)
    kept["unusable"][0]["reason"] = "it has no unit"
    record["unread"], record["dose"]["notes"] = "its product was not sent", ["strength from the product name"]
    loaded = remembered.load(orjson.dumps(kept).decode())
    assert words(loaded.unusable[0].reason) == "it has no unit"
    assert words(loaded.medications[0].unread) == "its product was not sent"
    assert loaded.medications[0].dose is not None
    assert [words(note) for note in loaded.medications[0].dose.notes] == ["strength from the product name"]


@pytest.mark.parametrize("kind", condition_kinds())
def test_a_problem_in_a_code_alone_is_called_by_its_kind(kind: str) -> None:
    coded = because("shown.coded-problem", kind=because(f"problem-kind.{kind}"), code="X1")
    assert words(coded).endswith(" (code X1)")
    assert words(coded)[0].isalpha()


def test_a_result_without_a_value_is_none_whichever_version_kept_it() -> None:
    def kept(raw: str, shown: Reason = NO_REASON) -> bool:
        return UnusableResult("anc", raw, because("unit.none"), "Observation/1", shown=shown).has_value  # type: ignore[arg-type]

    assert not kept("", NO_VALUE)
    assert not kept("no value")
    assert kept("1.2")
    assert kept("", because("shown.report"))


def test_a_day_in_a_reason_is_written_by_the_language_and_comes_back() -> None:
    known = because(
        "shown.from-registry", sent=because("shown.no-exact-date", sent="1.2 10*3/uL"), since=NOW.date()
    )
    assert words(known) == f"1.2 10*3/uL (no exact date) (from this service's registry, as of {NOW:%Y-%m-%d})"
    assert restored(stored(known)) == known
