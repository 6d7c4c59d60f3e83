"""Drugs: their names, codes and interaction classes (``knowledge/drugs.toml``, ``interactions.toml``, ``atc.toml``)."""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct

from service.alerts import ndc
from service.alerts.finding import Severity

_ATC = "http://www.whocc.no/atc"
Condition = Literal["default", "long_standing", "eu", "titration", "qt_critical"]


class InteractionClass(Struct, frozen=True, forbid_unknown_fields=True):
    """A group of drugs that act alike on clozapine (clinical.md 2.4). Without ``finding`` it is only asked for by other rules."""

    id: str
    title: str
    source: str
    drugs: tuple[str, ...]
    finding: str = ""
    effect: str = ""
    headline: str = ""
    mechanism: str = ""
    says: str = ""
    steps: tuple[str, ...] = ()
    severity: dict[Condition, Severity] = {}
    #: Severity for single drugs, instead of ``severity["default"]``.
    severity_of: dict[str, Severity] = {}
    #: Finding code when a drug of the class was stopped.
    stopped: str = ""
    reduce_to_one_third: bool = False
    #: The class applies to long-acting injections only.
    long_acting_only: bool = False
    #: No finding while a drug of this class is taken.
    unless_taking: str = ""
    #: No finding for a product that holds a drug of this class too.
    not_beside: str = ""
    #: Drugs that are critical when given by injection.
    parenteral_critical: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    section: str = ""
    confirmed: bool = True
    unconfirmed: tuple[str, ...] = ()


class Product(Struct, frozen=True):
    """What a medication code stands for. ``mg``: strength of one unit of the (single) ingredient, when a source gives it."""

    drugs: tuple[str, ...]
    label: str
    mg: float | None = None
    confirmed: bool = True
    #: ``label`` is the product's own name, from which strength and form may be read.
    named: bool = False


class ProductRow(Struct, forbid_unknown_fields=True):
    """Codes of one kind of product, as the data file lists them."""

    system: str
    drugs: tuple[str, ...]
    label: str
    source: str
    code: str = ""
    codes: tuple[str, ...] = ()
    mg: float | None = None
    confirmed: bool = True
    #: ``label`` is the product's own name, from which its strength is read.
    named: bool = False


class _LongActing(Struct):
    words: tuple[str, ...]


class _Drugs(Struct, forbid_unknown_fields=True):
    names: dict[str, tuple[str, ...]]
    combinations: dict[str, tuple[str, ...]]
    long_acting: _LongActing
    product: tuple[ProductRow, ...]


class _Atc(Struct, forbid_unknown_fields=True):
    source: str
    codes: dict[str, tuple[str, ...]]


class NoCard(Struct, frozen=True, forbid_unknown_fields=True):
    """Drugs that are known and draw no card, why, and from which document that was decided (``knowledge/no_card.toml``)."""

    id: str
    title: str
    reason: str
    source: str
    names: tuple[str, ...]
    confirmed: bool = True


class _NoCards(Struct, forbid_unknown_fields=True):
    group: tuple[NoCard, ...]


class _Interactions(Struct, forbid_unknown_fields=True, rename={"classes": "class"}):
    classes: tuple[InteractionClass, ...]


def _load(name: str) -> object:
    return tomllib.loads((files("service.alerts") / "knowledge" / name).read_text(encoding="utf-8"))


@cache
def classes() -> dict[str, InteractionClass]:
    """Every class by id, in the order of the data file."""
    return {c.id: c for c in msgspec.convert(_load("interactions.toml"), _Interactions).classes}


@cache
def _drugs() -> _Drugs:
    return msgspec.convert(_load("drugs.toml"), _Drugs)


@cache
def _classes_of() -> dict[str, tuple[InteractionClass, ...]]:
    found: dict[str, tuple[InteractionClass, ...]] = {}
    for group in classes().values():
        for drug_id in group.drugs:
            found[drug_id] = (*found.get(drug_id, ()), group)
    return found


@cache
def drug_ids() -> tuple[str, ...]:
    """Every drug the service knows by name, in alphabetical order."""
    return tuple(sorted({"clozapine", *_classes_of(), *_drugs().names}))


def names_of(drug_id: str) -> tuple[str, ...]:
    """The names a drug is recognised by, the generic one first."""
    generic = drug_id.replace("-", " ")
    return (generic, *_drugs().names.get(drug_id, ()))


def classes_of(drug_id: str) -> tuple[InteractionClass, ...]:
    """Classes a drug belongs to."""
    return _classes_of().get(drug_id, ())


@cache
def _class_ids() -> dict[str, frozenset[str]]:
    return {drug_id: frozenset(c.id for c in groups) for drug_id, groups in _classes_of().items()}


_NO_CLASS: frozenset[str] = frozenset()


def has_class(drug_id: str, class_id: str) -> bool:
    """True when the drug belongs to the class."""
    return class_id in _class_ids().get(drug_id, _NO_CLASS)


@cache
def _alerting() -> dict[str, tuple[InteractionClass, ...]]:
    found = {drug_id: tuple(c for c in groups if c.finding) for drug_id, groups in _classes_of().items()}
    return {drug_id: groups for drug_id, groups in found.items() if groups}


def alerting_classes_of(drug_id: str) -> tuple[InteractionClass, ...]:
    """Classes of a drug that raise a finding of their own beside clozapine."""
    return _alerting().get(drug_id, ())


@cache
def atc() -> dict[str, tuple[str, ...]]:
    """Drugs behind each shipped ATC code of an interacting drug for systemic use (``knowledge/atc.toml``)."""
    found: dict[str, tuple[str, ...]] = {}
    for drug_id, codes in msgspec.convert(_load("atc.toml"), _Atc).codes.items():
        for code in codes:
            found[code] = (*found.get(code, ()), drug_id)
    return found


def product_rows() -> tuple[ProductRow, ...]:
    """The shipped product codes, as listed."""
    return _drugs().product


@cache
def _products() -> dict[tuple[str, str], Product]:
    found = {(_ATC, code): Product(drugs, " and ".join(drugs)) for code, drugs in atc().items()}
    for row in _drugs().product:
        product = Product(row.drugs, row.label, row.mg, row.confirmed, row.named)
        for code in (row.code, *row.codes):
            if code:
                found[row.system, code] = product
    return found


class _Imported(Struct):
    """Codes of an imported terminology; nothing until :func:`install` is called."""

    products: dict[tuple[str, str], Product]
    release: str
    #: What a terminology server said of single codes.
    learned: dict[tuple[str, str], Product]


_imported = _Imported({}, "", {})


def install(products: dict[tuple[str, str], Product], release: str) -> None:
    """Make the codes of an imported terminology known, in place of those known before."""
    _imported.products, _imported.release = products, release
    codes_with.cache_clear()


def learn(system: str, code: str, product: Product) -> None:
    """Make one code known that a terminology server explained."""
    _imported.learned[system, code] = product
    codes_with.cache_clear()


def codes_of(drug_id: str, system: str) -> tuple[str, ...]:
    """Shipped codes of a drug itself in a code system, not of its products: what a product's ancestor may be."""
    return tuple(
        code
        for (s, code), p in _products().items()
        if s == system and p.drugs == (drug_id,) and p.label.partition(" (")[0] == drug_id
    )


@cache
def codes_with(drug_id: str) -> frozenset[str]:
    """Every code, of whatever system, that stands for the drug or a product with it: shipped, imported, learned."""
    known = (_products(), _imported.products, _imported.learned)
    return frozenset(code for products in known for (_, code), p in products.items() if drug_id in p.drugs)


def imported_release() -> str:
    """Name of the imported terminology; empty when there is none."""
    return _imported.release


def imported_product(system: str, code: str) -> Product | None:
    """What a code stands for in the imported terminology; National Drug Codes in any of their forms."""
    if system != ndc.SYSTEM:
        return _imported.products.get((system, code))
    found = {_imported.products[system, c] for c in ndc.candidates(code) if (system, c) in _imported.products}
    # A 10-digit code without hyphens that fits two products stands for neither.
    return found.pop() if len(found) == 1 else None


def product_by_code(system: str, code: str) -> Product | None:
    """What a code of a medication stands for; None when the code is not known. What ships wins over what was imported."""
    product = _products().get((system, code))
    if product is not None and product.mg is not None:
        return product
    found = imported_product(system, code) if _imported.products else None
    return found or product or _imported.learned.get((system, code))


@cache
def _names() -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    index: dict[str, tuple[str, ...]] = {}
    for drug_id in drug_ids():
        for name in {drug_id, *names_of(drug_id)}:
            index[name.lower()] = (drug_id,)
    for name, parts in _drugs().combinations.items():
        index[name.lower()] = parts
    longest_first = sorted(index, key=len, reverse=True)
    pattern = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
    # Whole words: "promazine" is not found in "chlorpromazine"; but a strength may be written to the name ("clozapine100mg"),
    # and Japanese puts no blank after a name. An N-oxide is a metabolite, not the drug.
    return (
        re.compile(
            rf"(?<!\w)(?:{pattern})(?:(?!\w)|(?=\d+(?:[.,]\d+)?\s*mg\b)|(?<=[\u30a0-\u30ff])(?![\u30a0-\u30ff]))(?![\s-]*N[\s-]*oxide)",
            re.IGNORECASE,
        ),
        index,
    )


@lru_cache(maxsize=4096)
def drugs_by_name(text: str) -> tuple[str, ...]:
    """Ids of every drug named in a text, in order of appearance; empty when none is."""
    pattern, index = _names()
    found: list[str] = []
    for match in pattern.finditer(text.replace("’", "'")):
        found += index[" ".join(match.group().lower().split())]
    return tuple(dict.fromkeys(found))


@cache
def without_card() -> tuple[NoCard, ...]:
    """Groups of drugs that are known and draw no card."""
    return msgspec.convert(_load("no_card.toml"), _NoCards).group


@cache
def _without_card() -> re.Pattern[str]:
    longest_first = sorted((n for group in without_card() for n in group.names), key=len, reverse=True)
    pattern = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in longest_first)
    return re.compile(rf"(?<!\w)(?:{pattern})(?:(?!\w)|(?=\d+(?:[.,]\d+)?\s*mg\b))", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_known_without_card(text: str) -> bool:
    """True when a text names a drug that is known and draws no card: it is recognised, though nothing is said of it."""
    return _without_card().search(text) is not None


@cache
def _long_acting() -> re.Pattern[str]:
    words = "|".join(re.escape(w) for w in _drugs().long_acting.words)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_long_acting(text: str) -> bool:
    """True when a product's name says that it is a long-acting injection."""
    return _long_acting().search(text) is not None
