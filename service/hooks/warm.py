"""What calls look up – drugs, problems, codes, units, tests to offer – read before the first of them, which would otherwise wait for it."""

from __future__ import annotations

from service.alerts.knowledge.catalogue import offered_reasons, referral_ids, test_ids, tests_by_text
from service.alerts.knowledge.classes import alerting_classes_of, has_class, longest_offset_days
from service.alerts.knowledge.code_systems import RXNORM
from service.alerts.knowledge.codes import (
    coded_by_loinc,
    coded_by_snomed,
    coded_kinds,
    conversions,
    dimensions,
    kinds_by_loinc,
    tests_by_code,
)
from service.alerts.knowledge.concerns import concerning_kinds, concerns
from service.alerts.knowledge.conditions import (
    condition_kinds,
    contraindications,
    denies_allergy,
    is_suspected,
    kinds_by_text,
    kinds_denied_by_text,
    passing_kinds,
    snomed_codes,
)
from service.alerts.knowledge.drug_names import by_folded_name, drugs_by_name, is_long_acting
from service.alerts.knowledge.equivalents import all_equivalents
from service.alerts.knowledge.hint import hints_at_clozapine
from service.alerts.knowledge.no_card import is_code_without_card, is_known_without_card
from service.alerts.knowledge.products import product_by_code
from service.alerts.knowledge.test_words import kind_by_words, kinds_of_words
from service.alerts.say.finding_codes import codes_always_said, stopping_codes, urgency
from service.alerts.say.language import english
from service.fhir.build import referral_order, test_order
from service.fhir.dosage_text import read_text
from service.fhir.routes import product_reaches
from service.fhir.strength import Strength, is_counted

_ANY = "any"
#: Long enough for a name of a drug.
_ANY_WORD = "anything"
_HARMLESS = "paracetamol"


def warm() -> None:
    """Read the data, compile the patterns of names, and validate the orders that cards offer."""
    drugs_by_name(_ANY)
    hints_at_clozapine(_ANY.encode())
    product_by_code(RXNORM, _ANY)
    alerting_classes_of(_ANY)
    has_class(_ANY, _ANY)
    is_long_acting(_ANY)
    for kind in condition_kinds().values():
        for name in kind.text[:1]:
            kinds_by_text(name)
            is_suspected(name)
            kinds_denied_by_text(name)
    read_text(_ANY, Strength())
    is_counted({"unit": _ANY})
    product_reaches(_ANY, ())
    is_known_without_card(_ANY)
    is_known_without_card(_ANY_WORD)
    is_known_without_card(_HARMLESS)
    is_code_without_card(RXNORM, _ANY)
    longest_offset_days()
    kind_by_words(_ANY)
    kinds_of_words()
    coded_by_snomed()
    snomed_codes()
    all_equivalents()
    by_folded_name()
    denies_allergy(_ANY)
    contraindications()
    concerns()
    concerning_kinds()
    passing_kinds()
    kinds_by_loinc()
    coded_by_loinc()
    coded_kinds()
    tests_by_code()
    tests_by_text()
    offered_reasons()
    urgency()
    stopping_codes()
    codes_always_said()
    english()
    for dimension in dimensions():
        conversions(dimension)
    for test_id in test_ids():
        test_order(test_id, _ANY, "routine", "")
    for specialty in referral_ids():
        referral_order(specialty, _ANY, "routine", "")
