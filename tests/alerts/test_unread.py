"""What was not read may matter (clinical.md 3.6): pairs of what can be read and is harmless, and what cannot and could be clozapine."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from msgspec import Raw
from msgspec.structs import replace

from service.alerts.evaluate import evaluate
from service.alerts.facts.patient import PatientSnapshot
from service.alerts.facts.practice import Practice
from service.alerts.policy.policy import policy_by_id
from service.alerts.say.finding import Finding
from service.alerts.say.seen import Seen
from service.fhir import snapshot
from service.fhir.gather import gather
from service.fhir.queries import QUERIES
from tests.data import NOW, ago, anc, bundle, clozapine, day_ago, on_clozapine, order

Json = dict[str, Any]
_EHR = "https://ehr.example/fhir"
_FAILED: Json = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
_PRODUCT = {"resourceType": "Medication", "id": "m-1", "code": {"text": "clozapine 100 mg tablet"}}


def facts(
    *records: Json,
    counts: tuple[Json, ...] = (),
    failed: tuple[str, ...] = (),
    drafts: tuple[Json, ...] = (),
    hook: str = "",
    server: str = _EHR,
    urls: dict[str, str] | None = None,
    patient: Json | None = None,
    not_sent: tuple[str, ...] = (),
    **more: list[Json],
) -> PatientSnapshot:
    """A snapshot of what an EHR sent. ``urls``: id -> fullUrl of the entry."""
    sources: dict[str, list[Json]] = {key: [] for key in QUERIES}
    sources["patient"] = [patient or {"resourceType": "Patient", "id": "clz-p1"}]
    for r in records:
        kinds = {
            "MedicationStatement": "statements",
            "MedicationDispense": "dispenses",
            "MedicationAdministration": "administrations",
        }
        sources[kinds.get(r["resourceType"], "medications")].append(r)
    sources["counts"] = list(counts)
    for key, resources in more.items():
        sources[key] += resources

    def value(key: str) -> Json:
        if key in failed:
            return _FAILED
        sent = bundle(*sources[key])
        for entry in sent["entry"]:
            if url := (urls or {}).get(entry["resource"].get("id", "")):
                entry["fullUrl"] = url
        return sent

    prefetch = {key: Raw(orjson.dumps(value(key))) for key in QUERIES if key not in not_sent}
    gathered = asyncio.run(gather(prefetch, dict.fromkeys(QUERIES), None, 0.0, own_server=server))
    return snapshot.build(
        patient_id="clz-p1",
        hook=hook or ("order-sign" if drafts else "patient-view"),
        zone=NOW.tzinfo,  # type: ignore[arg-type]
        gathered=gathered,
        orders=Raw(orjson.dumps(bundle(*drafts))),
    )


def judged(given: PatientSnapshot) -> dict[str, Finding]:
    return {f.code: f for f in evaluate(given, policy_by_id("us-label-2025"), NOW)}


def card(*records: Json, **more: Any) -> Finding | None:
    """The card about what was not read, if there is one."""
    practice = Practice(not_sent=more.get("not_sent", ()))
    given = facts(*records, **more)
    return {f.code: f for f in evaluate(given, policy_by_id("us-label-2025"), NOW, practice)}.get(
        "data-unavailable"
    )


def nameless(reference: str | None = "Medication/gone", **more: Any) -> Json:
    """An active order that is known by a reference alone."""
    content = on_clozapine(60)
    del content["medicationCodeableConcept"]
    if reference is not None:
        content["medicationReference"] = {"reference": reference}
    return content | more


_LOW = (anc(0.4, 1),)
_NORMAL = (anc(3.2, 3),)
_FLUVOXAMINE = (order("fluvoxamine 50 mg oral tablet"),)
_IBUPROFEN = (order("ibuprofen 400 mg oral tablet"),)


@pytest.mark.parametrize(
    "reference",
    [
        "Medication/gone",
        "Medication/gone/_history/2",
        "#gone",
        "urn:uuid:77aa",
        "urn:oid:1.2.3",
        "https://other.example/fhir/Medication/m-1",
        "https://ehr.example/fhir/Medication/gone",
    ],
)
def test_a_nameless_order_is_said_when_a_count_is_low(reference: str) -> None:
    found = card(nameless(reference), _PRODUCT, counts=_LOW)
    assert found is not None
    assert found.severity == "warning"
    assert "medication orders" in found.summary
    assert card(nameless(reference), _PRODUCT, counts=_NORMAL) is None


@pytest.mark.parametrize(
    "reference",
    ["Medication/m-1", "Medication/m-1/_history/2", "https://ehr.example/fhir/Medication/m-1", "#in"],
)
def test_a_product_that_was_sent_is_read(reference: str) -> None:
    inside = {"contained": [_PRODUCT | {"id": "in"}]}
    found = judged(facts(nameless(reference, **inside), _PRODUCT, counts=_LOW))
    assert "anc-severe-neutropenia" in found
    assert "data-unavailable" not in found


def test_a_product_by_its_full_url() -> None:
    url = "https://ehr.example/fhir/Medication/m-1"
    for server in (_EHR, ""):
        found = judged(facts(nameless(url), _PRODUCT, counts=_LOW, server=server, urls={"m-1": url}))
        assert "anc-severe-neutropenia" in found
    # Nobody says which server is ours, and nothing sent has this address.
    assert card(nameless(url), _PRODUCT, counts=_LOW, server="") is not None
    # The record's own patient is there too: it is its own server.
    own = {"subject": {"reference": "https://ehr.example/fhir/Patient/clz-p1"}}
    assert "anc-severe-neutropenia" in judged(facts(nameless(url, **own), _PRODUCT, counts=_LOW, server=""))


def test_a_product_of_another_server_does_not_stand_in() -> None:
    urls = {
        "m-1": "https://other.example/fhir/Medication/m-1",
        "mr-9": "https://ehr.example/fhir/MedicationRequest/mr-9",
    }
    found = judged(facts(nameless("Medication/m-1"), _PRODUCT, counts=_LOW, urls=urls))
    assert "anc-severe-neutropenia" not in found
    assert "data-unavailable" in found


@pytest.mark.parametrize(
    ("record", "matters"),
    [
        (nameless(), True),
        (nameless(status="on-hold"), True),
        (nameless(status="unknown"), True),
        (nameless(authoredOn=day_ago(-3)), True),
        (nameless(None), True),
        (nameless(None, medicationReference={"identifier": {"value": "4711"}}), True),
        (
            nameless(None, medicationCodeableConcept={"coding": [{"system": "urn:oid:1.2", "code": "9"}]}),
            True,
        ),
        (nameless(status="completed", authoredOn=day_ago(500)), False),
        (nameless(status="cancelled"), False),
        (nameless(status="entered-in-error"), False),
        (nameless(doNotPerform=True), False),
        (nameless(intent="proposal"), False),
        (
            nameless(None, medicationReference={"reference": "Medication/gone", "display": "paracetamol"}),
            False,
        ),
        (nameless(None, medicationCodeableConcept={"text": "paracetamol 500 mg"}), False),
    ],
    ids=str,
)
def test_only_what_may_be_taken_and_has_no_name(record: Json, matters: bool) -> None:
    assert (card(record, counts=_LOW) is not None) is matters


@pytest.mark.parametrize("kind", ["MedicationStatement", "MedicationDispense", "MedicationAdministration"])
def test_every_kind_of_record(kind: str) -> None:
    when = {
        "MedicationStatement": {"status": "active", "effectivePeriod": {"start": day_ago(60)}},
        "MedicationDispense": {
            "status": "completed",
            "whenHandedOver": ago(5),
            "daysSupply": {"value": 28, "code": "d"},
        },
        "MedicationAdministration": {"status": "completed", "effectiveDateTime": ago(0, 6)},
    }[kind]
    record = {
        "resourceType": kind,
        "id": "x",
        "subject": {"reference": "Patient/clz-p1"},
        "medicationReference": {"reference": "Medication/gone"},
    } | when
    assert card(record, counts=_LOW) is not None
    assert card(record, drafts=_FLUVOXAMINE) is not None
    assert card(record, counts=_NORMAL) is None


def test_when_a_nameless_order_matters() -> None:
    assert card(nameless(), drafts=_FLUVOXAMINE, counts=_NORMAL) is not None
    assert card(nameless(), drafts=(order("co-trimoxazole 480 mg tablet"),), counts=_NORMAL) is not None
    assert card(nameless(), drafts=(clozapine(),), counts=_NORMAL) is not None
    assert card(nameless(), counts=(anc(3.2, 45),)) is not None  # were it clozapine, a count would be due
    assert card(nameless(), failed=("counts",)) is not None  # neither drug nor count
    assert card(nameless(), on_clozapine(id="mr-2"), counts=_NORMAL) is not None
    # Nothing hints at clozapine.
    assert card(nameless()) is None
    assert card(nameless(), counts=_NORMAL) is None
    assert card(nameless(), drafts=_IBUPROFEN, counts=_NORMAL) is None
    assert card(order("warfarin 5 mg tablet", status="active"), drafts=_FLUVOXAMINE, counts=_LOW) is None


def test_what_the_registry_knows() -> None:
    given = facts(nameless(), counts=_NORMAL)
    assert "data-unavailable" not in judged(given)
    assert "data-unavailable" in judged(replace(given, registered=True))
    complete = facts(order("warfarin 5 mg tablet", status="active"), counts=_NORMAL)
    assert "data-unavailable" not in judged(replace(complete, registered=True))


_EVIDENCE = ("medications", "statements", "dispenses", "administrations")


@pytest.mark.parametrize("source", _EVIDENCE)
def test_a_source_that_failed_is_not_none(source: str) -> None:
    for drafts in (_FLUVOXAMINE, (order("carbamazepine 200 mg tablet"),), (clozapine(),)):
        assert card(failed=(source,), drafts=drafts, counts=_NORMAL) is not None
        if drafts is not None and "clozapine" not in str(drafts):
            assert card(drafts=drafts, counts=_NORMAL) is None
    assert card(failed=(source,), drafts=_IBUPROFEN, counts=_NORMAL) is None
    assert card(failed=(source,), counts=_LOW) is not None
    assert card(failed=(source,), counts=_NORMAL) is None
    assert card(failed=(source,)) is None
    assert card(counts=_LOW) is None
    found = judged(replace(facts(failed=(source,), counts=_NORMAL), registered=True))
    assert found["data-unavailable"].severity == "warning"


@pytest.mark.parametrize("ended", ["on-hold", "stopped"])
def test_counts_that_failed_after_a_stop_or_on_hold(ended: str) -> None:
    record = on_clozapine(100) | {"status": ended}
    if ended == "stopped":
        record["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {
            "start": day_ago(100),
            "end": day_ago(10),
        }
    assert card(record, failed=("counts",)) is not None
    assert card(record, counts=_NORMAL) is None
    old = order("warfarin 5 mg tablet", status="active")
    assert card(old, failed=("counts",)) is None


@pytest.mark.parametrize("failed", [("medications", "counts"), (*_EVIDENCE, "counts")], ids=len)
def test_several_sources_that_failed_are_no_hint(failed: tuple[str, ...]) -> None:
    """While an EHR is slow many fail at once: at visits nothing is said of patients of whom nothing hints at clozapine."""
    assert card(failed=failed) is None
    assert card(failed=failed, drafts=_IBUPROFEN) is None
    schizophrenia = {
        "resourceType": "Condition",
        "id": "c",
        "code": {"text": "schizophrenia"},
        "subject": {"reference": "Patient/clz-p1"},
    }
    assert card(failed=failed, conditions=[schizophrenia]) is not None
    assert card(failed=failed, drafts=_FLUVOXAMINE) is not None
    assert "data-unavailable" in judged(replace(facts(failed=failed), registered=True))


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("ciprofloxacin 500 mg tablet", True),
        ("ciprofloxacin 0.3 % eye drops", False),
        ("chloramphenicol 0.5 % eye drops", False),
        ("ketoconazole 2 % shampoo", False),
        ("ketoconazole 200 mg tablet", True),
        ("atropine 1 % ophthalmic solution", False),
        ("haloperidol decanoate 100 mg/mL injection", True),
        ("aripiprazole 10 mg tablet", False),  # interacts as a long-acting injection only
        ("aripiprazole 400 mg prolonged release suspension for injection", True),
        ("lorazepam 1 mg tablet", True),
        ("methotrexate 2.5 mg tablet", True),
        # Information at most, also where everything was read.
        ("lisinopril 10 mg tablet", False),
        ("amlodipine 5 mg tablet", False),
        ("methylphenidate 10 mg tablet", False),
        ("warfarin 5 mg tablet", False),
        ("ibuprofen 400 mg tablet", False),
    ],
)
def test_an_order_matters_where_a_warning_could_be_hidden(name: str, matters: bool) -> None:
    """What is not read is said beside an order that would draw a warning beside clozapine, as it is given, or be critical for some patient."""
    draft = (order(name),)
    for failed in _EVIDENCE:
        assert (card(failed=(failed,), drafts=draft, counts=_NORMAL) is not None) is matters
    settled = facts(on_clozapine(), drafts=draft, counts=_NORMAL)
    new = facts(on_clozapine(10), drafts=draft, counts=_NORMAL)
    beside = {f.severity for f in judged(settled).values()}
    worst = {
        f.severity
        for given, policy in ((settled, "uk-smpc"), (new, "us-label-2025"))
        for f in evaluate(given, policy_by_id(policy), NOW)
        if f.code.startswith("interaction")
    }
    assert ("warning" in beside or "critical" in beside | worst) is matters


def test_the_card_says_first_why_it_matters() -> None:
    low = card(nameless(), counts=_LOW)
    assert low is not None
    assert low.summary == (
        "ANC 400/µL on 2026-11-19. Is clozapine taken? Part of the medication orders could not be read."
    )
    assert "If clozapine is taken: stop it, and count again at once." in low.suggested
    mild = card(nameless(), counts=(anc(1.2, 1),))
    assert mild is not None
    assert "ANC 1200/µL on 2026-11-19." in mild.summary
    assert not any("stop" in step for step in mild.suggested)
    ordered = card(failed=("statements",), drafts=_FLUVOXAMINE)
    assert ordered is not None
    assert ordered.summary == (
        "Fluvoxamine with clozapine needs care. Is clozapine taken? What the patient reports taking could not be read."
    )
    assert "fluvoxamine 50 mg oral tablet is being ordered" in ordered.why[0]
    many = card(failed=_EVIDENCE, drafts=(*_FLUVOXAMINE, order("carbamazepine 200 mg tablet", id="d3")))
    assert many is not None
    assert many.summary == (
        "Fluvoxamine (and 1 more) with clozapine needs care. Is clozapine taken? Part of the medication record could not be read."
    )
    for found in (low, mild, ordered, many):
        assert len(found.summary) < 140
        assert "If it is not taken, this card asks for nothing more." in found.suggested


@pytest.mark.parametrize("failed", [(), ("statements",), ("medications",)], ids=str)
def test_the_card_shows_what_it_is_about(failed: tuple[str, ...]) -> None:
    """An override of it covers this order, this count: the next one is new evidence."""

    def seen(*records: Json, **more: Any) -> str:
        given = facts(*records, failed=failed, **more)
        found = [
            f for f in evaluate(given, policy_by_id("us-label-2025"), NOW) if f.code == "data-unavailable"
        ]
        assert len(found) == 1
        return Seen(given, found)(found[0])

    records = () if failed else (nameless(),)
    one = seen(*records, drafts=_FLUVOXAMINE)
    assert one == seen(*records, drafts=(_FLUVOXAMINE[0] | {"id": "another"},))
    assert one != seen(*records, drafts=(order("ciprofloxacin 500 mg tablet"),))
    assert one != seen(*records, drafts=(clozapine(25),))
    assert seen(*records, drafts=(clozapine(25),)) != seen(*records, drafts=(clozapine(300),))
    mild = seen(*records, counts=(anc(1.4, 2),))
    assert mild == seen(*records, counts=(anc(1.4, 2),))
    assert mild != seen(*records, counts=(anc(1.4, 2), anc(0.4, 1, id="anc-2")))
    assert mild != seen(*records, counts=(anc(0.4, 2),))


def test_a_source_the_site_does_not_have_gives_no_card() -> None:
    for more in ({"drafts": _FLUVOXAMINE}, {"counts": _LOW}):
        assert card(failed=("statements",), **more) is not None  # type: ignore[arg-type]
        assert card(not_sent=("statements",), **more) is None  # type: ignore[arg-type]
    assert card(on_clozapine(), counts=_NORMAL, not_sent=("statements", "dispenses", "smoking")) is None
    # What it has must still be there.
    assert card(not_sent=("statements",), failed=("dispenses",), counts=_LOW) is not None


def test_supply_that_ran_out_while_orders_failed_is_no_stop() -> None:
    supply = {
        "resourceType": "MedicationDispense",
        "id": "d",
        "status": "completed",
        "medicationCodeableConcept": {"text": "clozapine 100 mg tablet"},
        "subject": {"reference": "Patient/clz-p1"},
        "whenHandedOver": day_ago(40),
        "daysSupply": {"value": 28, "code": "d"},
    }
    old = (anc(4.0, 60),)
    for drafts in ((), _IBUPROFEN):
        found = judged(facts(supply, failed=("medications",), counts=old, drafts=drafts))
        assert "anc-post-stop" not in found
        assert "data-unavailable" in found
        assert "anc-post-stop" in judged(facts(supply, counts=old, drafts=drafts))


_FOREIGN = {"reference": "Patient/somebody-else"}
_NUMBER = {"system": "https://fhir.nhs.uk/Id/nhs-number", "value": "9999999999"}
_KNOWN = {"resourceType": "Patient", "id": "clz-p1", "identifier": [_NUMBER]}


@pytest.mark.parametrize(
    ("subject", "own"),
    [
        ({"reference": "Patient/clz-p1"}, True),
        ({"reference": "Patient/clz-p1/_history/3"}, True),
        ({"reference": "https://ehr.example/fhir/Patient/clz-p1"}, True),
        ({"reference": "http://ehr.example/fhir/Patient/clz-p1/_history/9"}, True),
        ({"reference": "urn:uuid:clz-p1"}, True),
        ({"identifier": _NUMBER}, True),
        ({"identifier": _NUMBER | {"value": "999 999-9999"}}, True),
        ({"identifier": {"value": "9999999999"}}, True),
        ({"display": "the patient"}, True),
        ({"reference": "https://other.example/fhir/Patient/clz-p1"}, False),
        ({"reference": "Patient/clz-p1", "identifier": _NUMBER | {"value": "1"}}, True),
        ({"reference": "Patient/other"}, False),
        ({"reference": "Group/clz-p1"}, False),
        ({"identifier": _NUMBER | {"value": "8888888888"}}, False),
        ({"identifier": {"system": "urn:oid:1.2", "value": "9999999999"}}, False),
    ],
    ids=str,
)
def test_whose_a_count_is(subject: Json, own: bool) -> None:
    found = judged(facts(on_clozapine(), counts=(anc(0.4, 1) | {"subject": subject},), patient=_KNOWN))
    assert ("anc-severe-neutropenia" in found) is own
    assert ("data-unavailable" in found) is not own


def test_without_a_patient_to_compare_a_number_is_not_believed_and_said() -> None:
    by_number = anc(3.2, 1) | {"subject": {"identifier": _NUMBER}}
    found = judged(facts(on_clozapine(), counts=(anc(0.4, 2, id="low"), by_number), failed=("patient",)))
    assert "anc-severe-neutropenia" in found
    assert "nobody can tell whose it is" in "".join(found["data-unavailable"].why)


@pytest.mark.parametrize(
    "kind", ["order", "MedicationStatement", "MedicationDispense", "MedicationAdministration"]
)
def test_somebody_elses_medication_is_reported(kind: str) -> None:
    foreign = on_clozapine() | {"subject": {"reference": "Patient/somebody-else"}}
    harmless = order("warfarin 5 mg tablet", status="active", patient="somebody-else")
    for record, hints in ((foreign, True), (harmless, False)):
        if kind != "order":
            record = record | {"resourceType": kind}
        # It names clozapine: the lists are mixed up, and this patient's own may be with somebody else.
        assert (card(record, counts=_NORMAL) is not None) is hints
        found = card(record, counts=_LOW)
        assert found is not None
        assert "somebody-else" not in str(found)


@pytest.mark.parametrize(
    ("draft", "alone", "beside"),
    [
        (
            {
                "resourceType": "MedicationOrder",
                "id": "d",
                "medicationCodeableConcept": {"text": "clozapine 25 mg"},
            },
            True,
            True,
        ),
        (
            {
                "resourceType": "MedicationOrder",
                "id": "d",
                "medicationCodeableConcept": {"text": "ibuprofen"},
            },
            False,
            True,
        ),
        (
            {"resourceType": "RequestGroup", "id": "d", "action": [{"resource": {"reference": "#x"}}]},
            False,
            True,
        ),
        (
            {"resourceType": "RequestGroup", "id": "d", "contained": [clozapine()]},
            True,
            True,
        ),
        ({"resourceType": "SupplyRequest", "id": "d"}, False, True),
        (on_clozapine() | {"resourceType": "MedicationStatement", "id": "d"}, True, True),
        ({"resourceType": "NutritionOrder", "id": "d"}, False, False),
        ({"resourceType": "ServiceRequest", "id": "d", "code": {"text": "x-ray"}}, False, False),
        ({"resourceType": "DeviceRequest", "id": "d"}, False, False),
        ({"resourceType": "Appointment", "id": "d"}, False, False),
    ],
    ids=str,
)
def test_a_draft_of_a_type_that_is_not_read(draft: Json, alone: bool, beside: bool) -> None:
    draft = draft | {"status": "draft"}
    assert (card(drafts=(draft,), counts=_NORMAL) is not None) is alone
    found = card(on_clozapine(), drafts=(draft,), counts=_NORMAL)
    assert (found is not None) is beside
    if found is not None:
        assert draft["resourceType"] in "".join(found.why)
        assert "an order" in found.summary


def test_one_card_with_at_most_five_causes() -> None:
    records = [nameless(f"Medication/m{n}", id=f"mr-{n}") for n in range(9)]
    records += [nameless(f"#in{n}", id=f"in-{n}") for n in range(3)]
    strange = [
        order("x", status="active", patient="other", id=f"s{n}") | {"resourceType": kind}
        for n, kind in enumerate(
            ("MedicationRequest", "MedicationStatement", "MedicationDispense", "MedicationAdministration")
        )
    ]
    found = [
        f
        for f in evaluate(facts(*records, *strange, counts=_LOW), policy_by_id("us-label-2025"), NOW)
        if f.code == "data-unavailable"
    ]
    assert len(found) == 1
    causes = [line for line in found[0].why if " – " in line or line.startswith("…")]
    assert 2 <= len(causes) <= 5
    assert any("and 6 more" in line for line in causes)
    assert len(found[0].summary) < 140


# -- records that name clozapine and cannot be read ---------------------------------------------------------------

_FEVER = {
    "vitals": [
        {
            "resourceType": "Observation",
            "id": "t",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]},
            "subject": {"reference": "Patient/clz-p1"},
            "effectiveDateTime": ago(0.1),
            "valueQuantity": {"value": 39.2, "unit": "Cel"},
        }
    ]
}


def _odd(record: Json, **odd: Any) -> Json:
    return record | odd


_UNREADABLE = {
    "an id of the wrong type": _odd(on_clozapine(), id=7),
    "a status of the wrong type": _odd(on_clozapine(), status=["active"]),
    "a subject that is none": _odd(on_clozapine(), subject="clz-p1"),
    "a reference of the wrong type": _odd(on_clozapine(), subject={"reference": 7}),
    "a date of the wrong type": _odd(on_clozapine(), authoredOn=2026),
    "a code of the wrong type": _odd(
        on_clozapine(), medicationCodeableConcept={"coding": [{"code": 7}], "text": "Clozaril 100 mg"}
    ),
    "a code alone": _odd(
        on_clozapine(), medicationCodeableConcept={"coding": [{"system": 7, "code": "197535"}]}
    ),
    "no type": {k: v for k, v in on_clozapine().items() if k != "resourceType"},
    "an order of DSTU2": _odd(on_clozapine(), resourceType="MedicationOrder"),
    "a record of R5": _odd(on_clozapine(), resourceType="MedicationUsage"),
}


@pytest.mark.parametrize("record", _UNREADABLE.values(), ids=_UNREADABLE)
def test_a_record_that_names_clozapine_and_cannot_be_read_is_said_at_a_visit(record: Json) -> None:
    sent = {key: [] for key in QUERIES} | {"counts": list(_NORMAL), "medications": [record], **_FEVER}
    prefetch = {key: Raw(orjson.dumps(bundle(*resources))) for key, resources in sent.items()}
    found = _visited(prefetch)
    assert found is not None
    assert "medication orders" in found.summary
    assert any("it names clozapine" in line for line in found.why)
    # The same of another drug is nobody's business here.
    other = orjson.loads(
        orjson.dumps(record).replace(b"clozapine", b"ibuprofen").replace(b"Clozaril", b"Nurofen")
        .replace(b"197535", b"197805")
    )  # fmt: skip
    prefetch["medications"] = Raw(orjson.dumps(bundle(other)))
    assert _visited(prefetch) is None


def test_a_record_of_another_release_that_names_an_interacting_drug_is_named_beside_clozapine() -> None:
    strange = order("fluvoxamine 50 mg", status="active", id="old") | {"resourceType": "MedicationOrder"}
    found = card(on_clozapine(), strange, counts=_NORMAL)
    assert found is not None
    assert any("MedicationOrder" in line for line in found.why)
    # Of another drug, or of a patient of whom nothing hints at clozapine, it is nobody's business.
    harmless = order("ibuprofen 400 mg", status="active", id="old") | {"resourceType": "MedicationOrder"}
    assert card(on_clozapine(), harmless, counts=_NORMAL) is None
    assert card(strange, counts=_NORMAL) is None
    described = order("fluvoxamine 50 mg", id="k") | {"resourceType": "MedicationKnowledge"}
    assert card(on_clozapine(), described, counts=_NORMAL) is None


def test_a_list_of_orders_that_is_no_bundle_is_looked_through_for_clozapine() -> None:
    prefetch = {key: Raw(orjson.dumps(bundle())) for key in QUERIES}
    prefetch["counts"] = Raw(orjson.dumps(bundle(*_NORMAL)))
    listed = bundle(on_clozapine())
    for whole in (
        listed | {"resourceType": None},
        listed | {"entry": "x" + str(listed)},
        [listed],
        on_clozapine() | {"resourceType": "MedicationOrder"},
        listed | {"entry": [{"resource": on_clozapine(id=f"m{n}")} for n in range(10_001)]},
    ):
        prefetch["medications"] = Raw(orjson.dumps(whole))
        assert _visited(prefetch) is not None
    for harmless in (
        [bundle(order("ibuprofen 400 mg", status="active"))],
        {"resourceType": "MedicationKnowledge", "code": {"text": "clozapine"}},
    ):
        prefetch["medications"] = Raw(orjson.dumps(harmless))
        assert _visited(prefetch) is None


def test_what_describes_a_drug_is_no_record_of_it() -> None:
    # Servers send such beside the records, and an allergy or a plan that names clozapine is no order of it.
    beside = [
        {"resourceType": "MedicationKnowledge", "id": "k", "code": {"text": "clozapine"}},
        {"resourceType": "CarePlan", "id": "c", "description": "consider clozapine"},
    ]
    assert card(*beside, counts=_NORMAL) is None


def _visited(prefetch: dict[str, Raw]) -> Finding | None:
    gathered = asyncio.run(gather(prefetch, dict.fromkeys(QUERIES), None, 0.0, own_server=_EHR))
    given = snapshot.build(
        patient_id="clz-p1", hook="patient-view", zone=NOW.tzinfo, gathered=gathered, orders=Raw(b"")  # type: ignore[arg-type]
    )  # fmt: skip
    return judged(given).get("data-unavailable")


# -- statuses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Active", "ACTIVE", " active "])
def test_a_status_is_read_as_its_code(status: str) -> None:
    found = judged(facts(on_clozapine() | {"status": status}, counts=_LOW))
    assert "anc-severe-neutropenia" in found
    assert "data-unavailable" not in found
    over = order("fluvoxamine 50 mg", id="f", authoredOn=day_ago(90)) | {"status": "Entered-In-Error"}
    assert "interaction-cyp1a2-strong-inhibitor" not in judged(facts(on_clozapine(), over, counts=_NORMAL))


@pytest.mark.parametrize("status", ["in-progress", "aktiv", "ordered", "x" * 3000, "<b>"])
def test_a_status_that_nobody_knows_is_no_word_of_an_end_and_is_said(status: str) -> None:
    own = judged(facts(on_clozapine() | {"status": status}, counts=_LOW))
    assert "anc-severe-neutropenia" in own
    assert any("its status is none that FHIR R4 has" in line for line in own["data-unavailable"].why)
    inhibitor = order("fluvoxamine 50 mg", id="f", authoredOn=day_ago(90), status=status)
    beside = judged(facts(on_clozapine(), inhibitor, drafts=(clozapine(300),), counts=_NORMAL))
    # Both unchanged for long, and no level: it asks for one.
    assert beside["interaction-cyp1a2-strong-inhibitor"].severity == "warning"
    assert "data-unavailable" in beside
    # Of a drug that means nothing here, the status means nothing.
    harmless = order("ibuprofen 400 mg", id="i", authoredOn=day_ago(90), status=status)
    assert "data-unavailable" not in judged(facts(on_clozapine(), harmless, counts=_NORMAL))


def test_a_dose_charted_with_a_status_that_nobody_knows_was_perhaps_not_given() -> None:
    def chart(status: str) -> list[Json]:
        doses = [(60, "completed"), (36, status), (12, status)]
        return [
            on_clozapine(60)
            | {
                "resourceType": "MedicationAdministration",
                "id": f"a{hours}",
                "status": said,
                "effectiveDateTime": ago(hours=hours),
            }
            for hours, said in doses
        ]

    def seen(status: str) -> dict[str, Finding]:
        order_ = on_clozapine(60)
        return judged(facts(order_, *chart(status), drafts=(clozapine(300),), counts=_NORMAL))

    assert "missed-dose-retitrate" not in seen("completed")
    for status in ("not-done", "Not-Done", "refused"):
        assert "missed-dose-retitrate" in seen(status), status
    assert "data-unavailable" in seen("refused")
    assert "data-unavailable" not in seen("Not-Done")
