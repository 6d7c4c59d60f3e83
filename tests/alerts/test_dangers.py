"""What cards of dangers under clozapine say (clinical.md 2.1, 2.6, 2.7): the action, the right source, no rule of another band."""

from __future__ import annotations

from typing import Any

import pytest

from service.alerts.knowledge import catalogue
from service.alerts.knowledge.concerns import concerns
from service.alerts.knowledge.conditions import condition_kinds, is_suspected, kinds_by_code, kinds_by_text
from service.alerts.policy.policy import policy_by_id, policy_ids
from service.alerts.say.finding import Finding, OrderTest
from service.alerts.say.wording import SUMMARY_LIMIT
from tests.alerts.vignette import findings
from tests.data import ago, clozapine, day_ago

Json = dict[str, Any]
_ON = "clozapine 300 mg since 500 d"


def _one(code: str, **row: Any) -> Finding:
    found = [f for f in findings(row) if f.code == code]
    assert len(found) == 1, found
    return found[0]


def _text(f: Finding) -> str:
    return "\n".join((f.summary, *f.why, *f.policy_says, *f.suggested, str(f.citation)))


# -- after a stop for a severe neutropenia ------------------------------------------------------------------------


def test_a_severe_stop_names_the_count_and_its_own_rule() -> None:
    card = _one(
        "anc-post-stop",
        hook="patient-view",
        on=["clozapine 300 mg from 60 d to 8 d"],
        counts=["ANC 300 /uL 8 d ago"],
    )
    assert "ANC 300/µL" in card.summary
    assert "daily" in card.summary
    assert "below 500" in " ".join(card.policy_says)
    assert "another reason" not in _text(card)
    assert card.citation.section == "2.3, changes by ANC"
    assert (
        OrderTest("cbc-with-differential", "stat", "Follow-up ANC after clozapine was stopped") in card.offers
    )


def test_another_stop_keeps_the_rule_of_other_stops() -> None:
    card = _one(
        "anc-post-stop",
        hook="patient-view",
        on=["clozapine 300 mg from 60 d to 8 d"],
        counts=["ANC 3200 /uL 9 d ago"],
    )
    assert "another reason than neutropenia" in " ".join(card.policy_says)


def _stopped_because(reason: str) -> Json:
    made = clozapine(300, id="mr-0", status="stopped", statusReason={"text": reason}, authoredOn=ago(60))
    made["dosageInstruction"][0]["timing"]["repeat"]["boundsPeriod"] = {
        "start": day_ago(60),
        "end": day_ago(8),
    }
    return made


@pytest.mark.parametrize(
    ("reason", "says", "severity"),
    [
        ("severe neutropenia", "below 500", "critical"),
        ("Agranulozytose", "below 500", "critical"),
        ("neutropenia", "500 to 999", "warning"),
        ("sedation", "another reason", "warning"),
    ],
)
@pytest.mark.parametrize("counts", [[], ["ANC 3200 /uL 20 d ago"]], ids=["no count", "a count long before"])
def test_without_a_low_count_the_reason_on_the_order_tells_the_rule(
    counts: list[str], reason: str, says: str, severity: str
) -> None:
    row = {"hook": "patient-view", "counts": counts, "resources": {"medications": [_stopped_because(reason)]}}
    card = _one("anc-post-stop", **row)
    assert card.severity == severity
    assert says in " ".join(card.policy_says)
    assert len(card.policy_says) == 1


def test_a_reason_too_long_to_be_read_is_said_to_be_there() -> None:
    resources = {"medications": [_stopped_because("neutropenia was ruled out " * 40)]}
    card = _one("anc-post-stop", hook="patient-view", counts=[], resources=resources)
    assert any("a reason of more than 500 characters" in line for line in card.why)
    assert "another reason" in " ".join(card.policy_says)


def test_a_count_since_tells_more_than_the_reason() -> None:
    resources = {"medications": [_stopped_because("severe neutropenia")]}
    row = {"hook": "patient-view", "counts": ["ANC 3200 /uL 4 d ago"], "resources": resources}
    assert "anc-post-stop" not in {f.code for f in findings(row)}


# -- fever ---------------------------------------------------------------------------------------------------------


def test_fever_holds_clozapine_until_the_count_is_back() -> None:
    card = _one("fever", hook="patient-view", on=[_ON], counts=["temperature 38.5 Cel 2 h ago"])
    assert "hold clozapine" in card.summary
    assert card.suggested[0] == "Hold clozapine until the ANC is back."
    assert any("not confirmed" in line for line in card.policy_says)
    for word in ("myocarditis", "Neuroleptic malignant syndrome", "CK", "infection"):
        assert word in " ".join(card.suggested)
    assert any(isinstance(o, OrderTest) and o.test == "ck" for o in card.offers)


@pytest.mark.parametrize(
    "row",
    [
        {"on": [_ON], "counts": ["temperature 38.6 Cel 5 h ago", "ANC 3.2 10*3/uL 2 h ago"]},
        {"on": ["clozapine 300 mg since 20 d"], "counts": ["temperature 38.4 Cel 5 h ago"]},
        {"on": ["clozapine 300 mg from 90 d to 5 d"], "counts": ["temperature 38.6 Cel 5 h ago"]},
    ],
    ids=["counted since", "below 38.5", "stopped"],
)
def test_else_fever_holds_nothing(row: Json) -> None:
    assert "hold" not in _text(_one("fever", hook="patient-view", **row)).lower()


def test_fever_names_the_count_that_came_without_a_differential() -> None:
    counts = ["temperature 38.6 Cel 5 h ago", "ANC 3.2 10*3/uL 2 d ago", "WBC 5.0 10*3/uL 1 h ago"]
    card = _one("fever", hook="patient-view", on=[_ON], counts=counts)
    assert any("no differential" in line for line in card.why)


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ("anc-missing", ["WBC 5.0 10*3/uL 2 h ago"]),
        ("anc-overdue", ["ANC 3.2 10*3/uL 40 d ago", "WBC 5.0 10*3/uL 2 h ago"]),
    ],
)
def test_the_card_that_misses_a_count_names_the_cbc_without_a_differential(
    code: str, counts: list[str]
) -> None:
    card = _one(code, hook="patient-view", on=[_ON], counts=counts)
    assert any("WBC 5000" in line and "no differential" in line for line in card.why)


def test_an_overdue_count_names_the_preliminary_one() -> None:
    counts = ["ANC 3.2 10*3/uL 40 d ago", "ANC 3.0 10*3/uL 2 h ago preliminary"]
    card = _one("anc-overdue", hook="patient-view", on=[_ON], counts=counts)
    assert any("ANC 3000" in line and "preliminary" in line for line in card.why)


# -- the heart -----------------------------------------------------------------------------------------------------


def test_active_myocarditis_at_a_renewal_says_stop_with_its_own_source() -> None:
    card = _one(
        "rechallenge-caution",
        on=["clozapine 300 mg since 25 d"],
        draft=["clozapine 300 mg"],
        problems=["acute myocarditis since 3 d"],
        counts=["ANC 3.2 10*3/uL 2 d ago"],
    )
    assert "stop clozapine" in card.summary
    assert card.citation.section == "boxed warning"
    assert "ANC" not in " ".join(card.policy_says)
    assert "hematolog" not in _text(card)


def test_an_old_neutropenia_keeps_the_rule_of_its_band() -> None:
    card = _one(
        "rechallenge-caution",
        draft=["clozapine 12.5 mg"],
        counts=["ANC 3.2 10*3/uL 2 d ago", "ANC 300 /uL 900 d ago"],
    )
    assert "below 500" in " ".join(card.policy_says)
    assert "cardiolog" not in _text(card)
    assert "stop clozapine" not in card.summary


def test_both_reasons_are_told_apart() -> None:
    card = _one(
        "rechallenge-caution",
        on=["clozapine 300 mg since 25 d"],
        draft=["clozapine 300 mg"],
        problems=["acute myocarditis since 3 d", "agranulocytosis since 900 d (resolved)"],
        counts=["ANC 3.2 10*3/uL 2 d ago"],
    )
    assert "myocarditis" in card.summary
    assert len(card.policy_says) == 2


# -- the rest of the list ------------------------------------------------------------------------------------------


def test_a_seizure_names_dose_level_and_anticonvulsant() -> None:
    row = {"hook": "patient-view", "on": ["clozapine 500 mg since 500 d"], "problems": ["seizure since 1 d"]}
    text = _text(_one("seizure", **row, counts=["level 640 ng/mL 20 d ago"]))
    for words in ("500 mg/day", "640 ng/mL", "No anticonvulsant on the list", "anticonvulsant"):
        assert words in text
    row["on"] = [*row["on"], "valproate since 90 d"]
    assert "Add an anticonvulsant" not in _text(_one("seizure", **row))


def test_the_bowel_leads_when_it_is_slow_already() -> None:
    row: Json = {
        "draft": ["oxycodone"],
        "on": [_ON, "senna since 400 d"],
        "problems": ["constipation since 4 d"],
    }
    card = _one("interaction-constipating", **row)
    assert "constipation on the list" in card.summary
    assert any("senna" in line for line in card.why)


@pytest.mark.parametrize("policy_id", policy_ids())
@pytest.mark.parametrize("code", concerns())
def test_every_concern_is_whole(code: str, policy_id: str) -> None:
    concern = concerns()[code]
    assert {*concern.kinds, *([concern.history] if concern.history else [])} <= set(condition_kinds())
    assert all(catalogue.test(test).title for test in concern.orders)
    assert not concern.refer or catalogue.referral(concern.refer).title
    assert (concern.early is None) == (not concern.now_early)
    assert concern.source in policy_by_id(policy_id).sources
    # With a name of 60 characters, cut off or not, the action is still read.
    longest = max(map(len, (concern.now, concern.at_start, concern.later, concern.now_early)))
    assert longest + len(" (provisional, not confirmed): ") + 40 < SUMMARY_LIMIT


# -- how problems are recognised -----------------------------------------------------------------------------------

_WHO = "http://hl7.org/fhir/sid/icd-10"
_CM = "http://hl7.org/fhir/sid/icd-10-cm"
_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
_AM = "http://hl7.org/fhir/sid/icd-10-am"
_SCT = "http://snomed.info/sct"


@pytest.mark.parametrize(
    ("system", "code", "kind"),
    [
        (_WHO, "D70", "agranulocytosis-history"),
        (_AM, "D70", "agranulocytosis-history"),
        (_GM, "D70.10", "agranulocytosis-history"),
        (_CM, "D70.2", "agranulocytosis-history"),
        (_SCT, "17182001", "agranulocytosis-history"),
        (_SCT, "50920009", "myocarditis"),
        (_SCT, "85898001", "cardiomyopathy"),
        (_SCT, "15244003", "neuroleptic-malignant-syndrome"),
        (_GM, "G21.0", "neuroleptic-malignant-syndrome"),
        (_SCT, "409089005", "neutropenic-fever"),
        (_SCT, "91175000", "seizure"),
        (_WHO, "R56.8", "seizure"),
        (_AM, "G40.01", "uncontrolled-epilepsy"),
        (_AM, "G40.91", "uncontrolled-epilepsy"),
        (_CM, "G40.911", "uncontrolled-epilepsy"),
        (_SCT, "59282003", "thromboembolism"),
        (_SCT, "3238004", "pericarditis"),
        (_SCT, "702809001", "eosinophilic-organ-disease"),
        (_SCT, "422588002", "aspiration"),
        (_SCT, "9707006", "gi-obstruction"),
        (_WHO, "K59.3", "gi-obstruction"),
        (_GM, "K56.4", "gi-obstruction"),
        (_SCT, "14760008", "constipation"),
        (_WHO, "F10.2", "cns-depressant-use"),
    ],
)
def test_a_problem_is_known_by_its_code(system: str, code: str, kind: str) -> None:
    assert kind in kinds_by_code(system, code)
    assert kind in kinds_by_code(system, code.replace(".", "") if system != _SCT else code)


@pytest.mark.parametrize(
    ("system", "code", "kind"),
    [
        (_CM, "D70", "agranulocytosis-history"),  # neutropenia of any kind
        (_CM, "D70.1", "agranulocytosis-history"),  # of chemotherapy
        (_CM, "D70.9", "agranulocytosis-history"),
        (_GM, "D70.7", "agranulocytosis-history"),
        (_WHO, "D70.8", "agranulocytosis-history"),
        (_WHO, "R56.0", "seizure"),  # febrile convulsions
        (_AM, "G40.00", "uncontrolled-epilepsy"),
        (_CM, "G40.009", "uncontrolled-epilepsy"),
        (_WHO, "Q43.1", "gi-obstruction"),
        (_CM, "I82.501", "thromboembolism"),
        (_WHO, "K11.7", "sialorrhoea"),
        (_WHO, "R40.0", "severe-sedation"),
        (_CM, "F10.21", "cns-depressant-use"),
        ("http://hl7.org/fhir/sid/icd-10-pcs", "G21.0", "neuroleptic-malignant-syndrome"),
    ],
)
def test_what_a_code_does_not_mean(system: str, code: str, kind: str) -> None:
    assert kind not in kinds_by_code(system, code)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Myokarditis", "myocarditis"),
        ("Agranulozytose unter Clozapin", "agranulocytosis-history"),
        ("agranulocytose", "agranulocytosis-history"),
        ("Péricardite aiguë", "pericarditis"),
        ("pericardite", "pericarditis"),
        ("Syndrome malin des neuroleptiques", "neuroleptic-malignant-syndrome"),
        ("Síndrome neuroléptico maligno", "neuroleptic-malignant-syndrome"),
        ("sindrome neuroleptico maligno", "neuroleptic-malignant-syndrome"),
        ("Malignes neuroleptisches Syndrom", "neuroleptic-malignant-syndrome"),
        ("sindrome neurolettica maligna", "neuroleptic-malignant-syndrome"),
        ("Maligne neuroleptica syndroom", "neuroleptic-malignant-syndrome"),
        ("Febrile Neutropenie", "neutropenic-fever"),
        ("neutropénie fébrile", "neutropenic-fever"),
        ("Krampfanfall", "seizure"),
        ("crise convulsive", "seizure"),
        ("convulsiones", "seizure"),
        ("Lungenembolie", "thromboembolism"),
        ("embolia polmonare", "thromboembolism"),
        ("paralytischer Ileus", "gi-obstruction"),
        ("occlusion intestinale", "gi-obstruction"),
        ("Obstipation", "constipation"),
        ("Alkoholabhängigkeit", "cns-depressant-use"),
        ("absence seizures", "seizure"),
    ],
)
def test_a_problem_is_known_by_name_in_five_languages(text: str, kind: str) -> None:
    assert kind in kinds_by_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Kein Hinweis auf Ileus",
        "keine Myokarditis",
        "Ausschluss einer Lungenembolie",
        "Lungenembolie ausgeschlossen",
        "Familienanamnese: Epilepsie",
        "Epilepsie in der Familie",
        "pas de convulsions",
        "sans épilepsie",
        "absence de péricardite",
        "antécédents familiaux d'épilepsie",
        "sin convulsiones",
        "antecedentes familiares de epilepsia",
        "nessuna embolia polmonare",
        "geen epilepsie",
        "influenza vaccination",
        "exposure to influenza",
    ],
)
def test_denied_or_somebody_elses_in_other_languages(text: str) -> None:
    assert kinds_by_text(text) == ()


def test_past_and_suspected_in_other_languages() -> None:
    assert "thromboembolism" not in kinds_by_text("Zustand nach Lungenembolie")
    assert "thromboembolism" not in kinds_by_text("antécédent d'embolie pulmonaire")
    assert "myocarditis" in kinds_by_text("Z.n. Myokarditis")  # a history that counts
    assert is_suspected("Verdacht auf Myokarditis")
    assert is_suspected("V.a. Myokarditis")
    assert is_suspected("suspicion de péricardite")
    assert not is_suspected("Myokarditis")


def _coded(text: str, code: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": "c1",
        "code": {"text": text, "coding": [{"system": _SCT, "code": code}]},
        "subject": {"reference": "Patient/clz-p1"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
    }


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("Pulmonary embolism", True),
        ("", True),
        ("Embolus, details in the letter", True),
        ("Family history of pulmonary embolism", False),
        ("History of pulmonary embolism", False),
        ("Pulmonary embolism ruled out", False),
    ],
)
def test_a_text_that_denies_is_not_overruled_by_its_code(text: str, known: bool) -> None:
    row = {"hook": "patient-view", "on": [_ON], "resources": {"conditions": [_coded(text, "59282003")]}}
    assert ("thromboembolism" in {f.code for f in findings(row)}) is known


def test_low_pressure_that_persists_is_a_reason_to_stop() -> None:
    card = _one(
        "orthostatic-hypotension", hook="patient-view", on=[_ON], counts=["systolic 88 mm[Hg] 1 d ago"]
    )
    assert card.severity == "warning"
    assert any("persists" in step and "stopped" in step for step in card.suggested)


def test_diabetes_that_stays_uncontrolled_is_weighed_again() -> None:
    card = _one("hyperglycemia", hook="patient-view", on=[_ON], counts=["HbA1c 9 % 1 d ago"])
    assert any("in spite of treatment" in step for step in card.suggested)


def test_a_baseline_too_old_says_do_not_start_and_offers_to_remove_the_draft() -> None:
    card = _one("baseline-count-too-old", draft=["clozapine 12.5 mg"], counts=["ANC 4.0 10*3/uL 8 d ago"])
    assert card.severity == "critical"
    assert "8 days" in card.summary
    assert "overdue" not in _text(card)
    assert {type(offer).__name__ for offer in card.offers} >= {"RemoveDraft", "OrderTest"}


def test_a_course_begun_on_an_old_baseline_says_where_national_rules_decide() -> None:
    row: Json = {
        "hook": "medication-refill",
        "draft": ["clozapine 50 mg"],
        "on": ["clozapine 50 mg since 3 d"],
        "counts": ["ANC 4.0 10*3/uL 14 d ago", "WBC 7.0 10*3/uL 14 d ago"],
    }
    for policy, decides in (("eu-smpc-2025", True), ("jp-2023", True), ("uk-smpc", False)):
        card = _one("baseline-count-too-old", policy=policy, **row)
        assert any("national rules decide" in line for line in card.policy_says) == decides
