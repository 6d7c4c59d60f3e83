"""The drug and code tables: what they must agree on, and codes that cannot exist."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from service.alerts.knowledge import catalogue, codes
from service.alerts.knowledge.class_effects import InteractionClass
from service.alerts.knowledge.classes import classes, classes_of
from service.alerts.knowledge.codes import coded_kinds, kinds
from service.alerts.knowledge.conditions import ConditionKind, condition_kinds
from service.alerts.knowledge.drug_names import by_folded_name, drugs_by_name
from service.alerts.knowledge.drugs import Drug, drugs, names_of, wrong_drugs
from service.alerts.knowledge.no_card import without_card
from service.alerts.knowledge.product_codes import coded, harmless
from service.alerts.knowledge.products import atc, product_by_code, product_rows
from service.alerts.knowledge.spelling import folded
from service.alerts.policy.policy import policy_by_id

_D5 = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_P8 = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _loinc(code: str) -> bool:
    """The last digit of a LOINC code checks the others (modulus 10)."""
    number, _, check = code.partition("-")
    if not (number.isdigit() and check.isdigit()):
        return False
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(number))]
    return -sum(d // 10 + d % 10 for d in doubled) % 10 == int(check)


def _snomed(code: str) -> bool:
    """The last digit of a SNOMED CT identifier checks the others (Verhoeff)."""
    check = 0
    for i, digit in enumerate(reversed(code)):
        check = int(_D5[check][int(_P8[i % 8][int(digit)])])
    return code.isdigit() and check == 0


def test_the_check_digits_themselves() -> None:
    assert _loinc("751-8")
    assert not _loinc("751-7")
    assert not _loinc("7518")
    assert _snomed("77176002")
    assert not _snomed("77176003")


def test_loinc_codes_exist_and_mean_one_thing() -> None:
    results = [code for kind in kinds().values() for code in kind.loinc]
    answers = [code for kind in coded_kinds().values() for code in kind.loinc]
    orders = list(codes.tests_by_code())
    assert [code for code in results + answers + orders if not _loinc(code)] == []
    assert [code for code, times in Counter(results + answers).items() if times > 1] == []
    for test_ids in codes.tests_by_code().values():
        assert all(catalogue.test(test_id).title for test_id in test_ids)


def test_a_code_that_cannot_exist_is_not_called_confirmed() -> None:
    assert not _snomed("129641002")  # named for benign ethnic neutropenia by some sources
    wrong = {
        kind_id: [c for c in kind.snomed if not _snomed(c)] for kind_id, kind in condition_kinds().items()
    }
    assert {kind_id: found for kind_id, found in wrong.items() if found} == {}
    rows = [row for row in product_rows() if "snomed" in row.system and row.confirmed]
    products = [c for row in rows for c in (row.code, *row.codes) if c]
    answers = [c for kind in coded_kinds().values() for c in kind.answers if c.isdigit()]
    assert [c for c in (*answers, *products) if not _snomed(c)] == []


def test_a_product_code_stands_for_one_product() -> None:
    listed = [(row.system, code) for row in product_rows() for code in (row.code, *row.codes) if code]
    assert [code for code, times in Counter(listed).items() if times > 1] == []


@pytest.mark.parametrize("group", classes().values(), ids=lambda c: c.id)
def test_a_class_speaks_only_of_its_own_drugs(group: InteractionClass) -> None:
    for listed in (group.unconfirmed, group.severity_of, group.parenteral_critical):
        assert set(listed) <= set(group.drugs)
    assert len(set(group.drugs)) == len(group.drugs)
    assert {group.unless_taking, group.not_beside} - {""} <= set(classes())
    if group.finding:
        assert group.section
        assert group.says
        assert group.steps
        assert group.mechanism
        assert all(group.source in policy_by_id(p).sources for p in ("us-label-2025", "eu-smpc-2025"))


@pytest.mark.parametrize("group", [c for c in classes().values() if c.stopped], ids=lambda c: c.id)
def test_what_is_said_of_a_stop_is_said_of_the_stop(group: InteractionClass) -> None:
    """The level goes the other way then: the sentence for the beginning would ask for the wrong dose."""
    wanted, wrong = (
        ({"higher", "original"}, {"lower"}) if group.effect == "raises" else ({"lower"}, {"higher"})
    )
    words = set(re.findall(r"\w+", group.stopped_says))
    assert words & wanted
    assert "stopped" in words
    assert not words & wrong


def test_a_name_stands_for_one_drug() -> None:
    drugs = sorted({d for group in classes().values() for d in group.drugs})
    for drug in drugs:
        for name in (drug, *names_of(drug)):
            assert drugs_by_name(name) == (drug,), name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peginterferon beta-1a", ("interferon-beta",)),
        ("Interferon Alpha-2b", ("interferon-alfa",)),
        ("norethindrone-e.estradiol-iron 1 mg-20 mcg", ("ethinylestradiol",)),
        ("levonorgestrel-ethinyl estrad 0.1-20", ("ethinylestradiol",)),
        ("iron sucrose 20 mg/mL", ()),
        ("ferrous sulfate 325 mg", ("iron",)),
        ("quinidine gluconate", ("quinidine",)),
        ("dextroamphetamine-amphetamine 20 mg", ("amphetamine",)),
        ("dexmethylphenidate ER", ("methylphenidate",)),
        ("Septrin 480 mg", ("sulfamethoxazole", "trimethoprim")),
        ("Rifinah 300", ("rifampicin", "isoniazid")),
        ("Seroquel XR", ("quetiapine",)),
        ("Klozapin 100 mg", ("clozapine",)),
        ("norclozapine", ()),
        ("chlorpromazine", ("chlorpromazine",)),
        ("promazine", ("promazine",)),
    ],
)
def test_names_of_products(text: str, expected: tuple[str, ...]) -> None:
    assert drugs_by_name(text) == expected


@pytest.mark.parametrize(
    ("drug", "class_id", "read"),
    [
        ("tamsulosin", "hypotensive", False),
        ("chlorpromazine", "seizure-threshold", False),
        ("oxybutynin", "anticholinergic", False),
        ("cyproheptadine", "anticholinergic", True),
        ("quetiapine", "anticholinergic", True),
        ("viloxazine", "cyp1a2-strong-inhibitor", False),
        ("amitriptyline", "cyp2d6-substrate", False),
        ("propafenone", "cyp2d6-substrate", True),
        ("isoniazid", "cyp1a2-inhibitor", True),
        ("auranofin", "myelosuppressive", True),
        ("mianserin", "myelosuppressive", False),
    ],
)
def test_a_drug_is_confirmed_where_the_fact_base_names_a_source_for_it(
    drug: str, class_id: str, read: bool
) -> None:
    group = classes()[class_id]
    assert drug in group.drugs
    assert (drug not in group.unconfirmed) is read


def test_depots_are_discouraged_not_forbidden() -> None:
    """What the product information says of depots (clinical-reference C1, rows 142 to 150, and I21)."""
    assert "discourages" in classes()["depot-antipsychotic"].says
    assert "forbids" not in classes()["depot-antipsychotic"].says


_SPELLINGS = (
    ("penia", "paenia"),
    ("anemia", "anaemia"),
    ("cythemia", "cythaemia"),
    ("fecal", "faecal"),
    ("feces", "faeces"),
    ("apnea", "apnoea"),
    ("metabolizer", "metaboliser"),
    ("counseling", "counselling"),
)


@pytest.mark.parametrize(("kind_id", "kind"), condition_kinds().items(), ids=list(condition_kinds()))
def test_problems_are_known_in_both_spellings(kind_id: str, kind: ConditionKind) -> None:
    if kind_id == "neutropenia":  # reasons for a stop: "leukopenia" and "leucopenia" are its two
        assert {"neutropenia", "neutropaenia", "leukopenia", "leucopenia"} <= set(kind.text)
        return
    for words in (kind.text, kind.without):
        for american, british in _SPELLINGS:
            for text in words:
                if american in text:
                    assert text.replace(american, british) in words
                if british in text:
                    assert text.replace(british, american) in words


def test_an_order_for_a_result_that_satisfies_a_test_is_seen() -> None:
    """A troponin of any kind that is read as a result is known as an order too, and the usual panel of clozapine levels."""
    ordered = codes.tests_by_code()
    for kind, test_id in (
        ("troponin", "troponin-crp"),
        ("crp", "troponin-crp"),
        ("clozapine-level", "clozapine-level"),
    ):
        assert {code: ordered.get(code) for code in kinds()[kind].loinc} == dict.fromkeys(
            kinds()[kind].loinc, (test_id,)
        )
    assert ordered["65632-2"] == ("clozapine-level",)


def test_a_sum_with_norclozapine_is_no_clozapine_level() -> None:
    assert not {"12375-2", "10992-6"} & set(kinds()["clozapine-level"].loinc)
    assert kinds()["norclozapine-level"].loinc == ("10992-6",)
    assert not any("12375-2" in kind.loinc for kind in kinds().values())


def test_atc_codes_are_of_known_drugs_for_systemic_use() -> None:
    known = {d for group in classes().values() for d in group.drugs} | {"clozapine"}
    for code, found in atc().items():
        assert re.fullmatch(r"[A-Z]\d\d[A-Z]{2}\d\d", code), code
        assert set(found) <= known, code
        # Skin (but for fungi by mouth), eye and ear, nose, inhaled, mouth, vagina: not for the circulation.
        assert not re.match(r"D(?!01B|05B)|S|R01|R03[AB]|A01|G01|C05|M02", code), code


@pytest.mark.parametrize(
    ("code", "drugs"),
    [
        ("N06AB08", ("fluvoxamine",)),
        ("J01MA02", ("ciprofloxacin",)),
        ("N03AF01", ("carbamazepine",)),
        ("J01EE01", ("sulfamethoxazole", "trimethoprim")),
        ("N02BB02", ("metamizole",)),
        ("N05AX13", ("paliperidone",)),
        ("D01BA02", ("terbinafine",)),
        ("N05AH02", ("clozapine",)),
    ],
)
def test_a_drug_by_its_atc_code(code: str, drugs: tuple[str, ...]) -> None:
    product = product_by_code("http://www.whocc.no/atc", code)
    assert product is not None
    assert product.drugs == drugs


@pytest.mark.parametrize("code", ["S01AE03", "D06AX02", "S01AA01", "D01AE15"])
def test_drops_and_creams_have_other_atc_codes(code: str) -> None:
    assert product_by_code("http://www.whocc.no/atc", code) is None


def test_every_drug_is_one_sound_record() -> None:
    known = tuple(classes())
    assert list(wrong_drugs(drugs(), known)) == []
    assert len(drugs()) > 350
    assert {c.id for d in drugs() for c in classes_of(d)} == set(known)


@pytest.mark.parametrize(
    ("drug_id", "record", "expected"),
    [
        ("lansoprazol", Drug(names=("Zoton",), no_atc="x"), "lansoprazol: expected classes, or no_class"),
        ("omeprazol", Drug(names=("Losec MUPS",), no_atc="x"), "is 'omeprazole' meant?"),
        ("lansoprazole", Drug(classes=("cyp1a2-inducr",), no_atc="x"), "'cyp1a2-inducr' is no class, expected 'cyp1a2-inducer'"),
        ("lansoprazole", Drug(classes=("qt",)), "expected atc codes, or no_atc with the reason"),
        ("lansoprazole", Drug(classes=("qt",), unconfirmed=("bowel",), no_atc="x"), "'bowel' is no class"),
        ("lansoprazole", Drug(classes=("qt",), unconfirmed=("cns-depressant",), no_atc="x"), "'cns-depressant' is not among its own classes"),
        ("lansoprazole", Drug(classes=("qt",), severity={"cns-depressant": "critical"}, no_atc="x"), "is not among its own classes"),
        ("lansoprazole", Drug(classes=("qt",), names=("Luvox",), no_atc="x"), "the name 'Luvox' is one of 'fluvoxamine', too"),
        ("lansoprazole", Drug(classes=("qt",), no_class="x", no_atc="x"), "expected classes, or no_class"),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_meant_is_refused(drug_id: str, record: Drug, expected: str) -> None:
    ids = {c.id: c.id for c in classes().values()} | {"cyp1a2-inducer": "cyp1a2-inducer", "qt": "qt"}
    members = dict(drugs()) | {"cyp1a2-inducer-drug": Drug(classes=("cyp1a2-inducer", "qt"), no_atc="x")}
    wrong = list(wrong_drugs({**members, drug_id: record}, tuple(ids)))
    assert any(expected in sentence for sentence in wrong), wrong


def test_a_class_without_a_drug_is_refused() -> None:
    assert list(wrong_drugs(drugs(), (*classes(), "nobody"))) == ["class 'nobody' has no drug"]


@pytest.mark.parametrize(
    ("text", "drug"),
    [
        ("Carbamazepin 200 mg", "carbamazepine"), ("carbamazépine LP", "carbamazepine"), ("Fluvoxamina", "fluvoxamine"), ("Fluvoxamin-neuraxpharm", "fluvoxamine"),
        ("ciprofloxacine", "ciprofloxacin"), ("ciprofloxacino", "ciprofloxacin"), ("Fenitoína", "phenytoin"), ("fenytoin", "phenytoin"), ("Rifampicina", "rifampicin"),
        ("Erytromycin", "erythromycin"), ("Metotrexato", "methotrexate"), ("klozapin", "clozapine"), ("Clozapinum", "clozapine"), ("Omeprazol", "omeprazole"),
        ("Ketokonazol", "ketoconazole"), ("Lorazépam", "lorazepam"),
    ],
)  # fmt: skip
def test_a_generic_name_in_another_language(text: str, drug: str) -> None:
    assert drugs_by_name(text) == (drug,)


@pytest.mark.parametrize(
    "text",
    [
        "Amoxicilina",
        "Clozapin-N-oxid",
        "clozapine N-oxide",
        "Metformina",
        "Iron Man",
        "Olanzapinoid",
        "Clozap",
        "Paracetamolum",
    ],
)
def test_what_only_looks_like_a_drug(text: str) -> None:
    assert drugs_by_name(text) in ((), ("iron",) if text == "Iron Man" else ())


def test_no_two_drugs_share_a_folded_name() -> None:
    forms = by_folded_name()
    for drug_id, drug in drugs().items():
        for name in (drug_id, *(n for n in drug.names if n.islower())):
            form = folded(name)
            assert not form or forms.get(form, drug_id) == drug_id, (drug_id, name)
    assert not {folded(n) for g in without_card() for n in g.names} & forms.keys()


@pytest.mark.parametrize(
    "system",
    [
        "http://www.whocc.no/atc", "https://www.whocc.no/atc/", "http://fhir.de/CodeSystem/bfarm/atc", "http://fhir.de/CodeSystem/dimdi/atc",
        "urn:oid:2.16.840.1.113883.6.73", "HTTP://WWW.WHOCC.NO/ATC",
    ],
)  # fmt: skip
def test_atc_however_it_is_written(system: str) -> None:
    product = product_by_code(system, "N05AH02")
    assert product is not None
    assert product.drugs == ("clozapine",)
    assert product_by_code("http://example.org/atc", "N05AH02") is None


def test_an_edition_of_snomed_ct_is_snomed_ct() -> None:
    for system in (
        "http://snomed.info/sct",
        "http://snomed.info/sct/731000124108",
        "http://snomed.info/sct/83821000000107/version/20250101",
    ):
        product = product_by_code(system, "387568001")
        assert product is not None
        assert product.drugs == ("clozapine",)


def test_the_long_list_of_codes_holds_codes_that_can_exist_each_once() -> None:
    listed = [(system, code) for system, code in (*coded(), *harmless())]
    assert len(listed) == len(set(listed))
    assert [code for system, code in listed if "snomed" in system and not _snomed(code)] == []
    assert {drug for meaning in coded().values() for drug in meaning.drugs} <= set(drugs())
    short = {(row.system, code) for row in product_rows() for code in (row.code, *row.codes)}
    assert short.isdisjoint(listed)
