"""Drugs by what a text calls them: generic names, brands, names in other languages."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from service.alerts.knowledge import brands
from service.alerts.knowledge.branches import branches
from service.alerts.knowledge.data_file import KnowledgeError
from service.alerts.knowledge.drugs import drug_ids, drugs, names_of
from service.alerts.knowledge.no_card import without_card
from service.alerts.knowledge.products import product_data
from service.alerts.knowledge.spelling import folded


@cache
def _of_one_country() -> dict[str, dict[str, tuple[str, ...]]]:
    """Names that mean one drug here and another there: name in lower case -> country -> drugs."""
    own: dict[str, tuple[str, ...]] = {
        name.lower(): (drug_id,) for drug_id in drug_ids() for name in (drug_id, *names_of(drug_id))
    }
    own |= {name.lower(): parts for name, parts in product_data().combinations.items()}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, meanings in brands.by_name().items():
        if brands.agreed(meanings) is None or (name in own and brands.agreed(meanings) != own[name]):
            found[name] = meanings
    return found


def _brand_index() -> dict[str, tuple[str, ...]]:
    """Names of ``brands.toml`` that mean the same wherever they are known."""
    found: dict[str, tuple[str, ...]] = {}
    for name, meanings in brands.by_name().items():
        for part in {d for parts in meanings.values() for d in parts}:
            if part not in drugs():
                raise KnowledgeError(f"brands.toml: {name!r} leads to {part!r}, which is no drug")
        parts = brands.agreed(meanings)
        if parts is not None and name not in _of_one_country():
            found[name] = parts
    return found


@cache
def _names() -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    index: dict[str, tuple[str, ...]] = _brand_index()
    for drug_id in drug_ids():
        for name in {drug_id, *names_of(drug_id)}:
            index[name.lower()] = (drug_id,)
    for name, parts in product_data().combinations.items():
        index[name.lower()] = parts
    index |= dict.fromkeys(_of_one_country(), ())
    pattern = branches(index, r"\s+")
    # Whole words: "promazine" is not found in "chlorpromazine"; but a strength may be written to the name ("clozapine100mg"),
    # and Japanese puts no blank after a name. An N-oxide is a metabolite, not the drug.
    return (
        re.compile(
            rf"(?<!\w)(?:{pattern})(?:(?!\w)|(?=\d+(?:[.,]\d+)?\s*mg\b)|(?<=[\u30a0-\u30ff])(?![\u30a0-\u30ff]))(?![\s-]*N[\s-]*oxid)",
            re.IGNORECASE,
        ),
        index,
    )


@cache
def by_folded_name() -> dict[str, str]:
    """Folded generic name -> drug, for names in other European languages; a form that two drugs share leads to none."""
    found: dict[str, str] = {}
    shared = {folded(name) for group in without_card() for name in group.names}
    for drug_id, drug in drugs().items():
        for name in (drug_id, *drug.names):
            form = folded(name) if name.islower() else ""  # brands are not translated
            if form and found.setdefault(form, drug_id) != drug_id:
                shared.add(form)
    return {form: drug_id for form, drug_id in found.items() if form not in shared}


_WORD = re.compile(r"[^\W\d_]{6,}")
_METABOLITE = re.compile(r"[\s-]*N[\s-]*oxid", re.IGNORECASE)


@lru_cache(maxsize=4096)
def drugs_by_name(text: str, country: str = "") -> tuple[str, ...]:
    """Ids of every drug named in a text, in order of appearance, those named in another language last; empty when none is.

    Args:
        text: a name as a record gives it.
        country: where it was written (ISO 3166), for brands that mean another drug elsewhere; where it is not known they mean none.
    """
    pattern, index = _names()
    found: list[str] = []
    left = text.replace("’", "'")
    disputed = _of_one_country()
    for match in pattern.finditer(left):
        name = " ".join(match.group().lower().split())
        found += index[name] if name not in disputed else disputed[name].get(country, ())
    # A word of a longer name is no name of its own: "peginterferon" in "peginterferon beta-1a".
    left = pattern.sub(" ", left) if found else left
    for word in _WORD.finditer(left):
        drug_id = by_folded_name().get(folded(word.group()))
        if drug_id is not None and not _METABOLITE.match(left, word.end()):
            found.append(drug_id)
    return tuple(dict.fromkeys(found))


@cache
def _long_acting() -> re.Pattern[str]:
    words = "|".join(re.escape(w) for w in product_data().long_acting.words)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_long_acting(text: str) -> bool:
    """True when a product's name says that it is a long-acting injection."""
    return _long_acting().search(text) is not None
