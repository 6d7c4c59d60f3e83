"""Drugs: one record each with its names, ATC codes and classes (``knowledge/drugs.toml``), and what a class does (``interactions.toml``).

Products – codes, and names that stand for several drugs – are in ``products.toml``, drugs that draw no card in ``no_card.toml``. The loader refuses
what cannot be meant: a class nobody defined, a drug without class or code and without a reason, a name of two drugs.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from service.alerts.knowledge import brands, ndc
from service.alerts.knowledge.branches import branches
from service.alerts.knowledge.code_systems import ATC, DMD, RXNORM, SNOMED, canonical
from service.alerts.knowledge.spelling import folded
from service.alerts.say.finding import Severity

Condition = Literal["default", "long_standing", "eu", "titration", "first_weeks", "high_dose", "qt_critical"]


class KnowledgeError(ValueError):
    """Data that cannot be used; the message names the file, the record and what was expected."""


class Drug(Struct, frozen=True, forbid_unknown_fields=True):
    """One drug, as the data file holds it."""

    #: Ids of ``interactions.toml``.
    classes: tuple[str, ...] = ()
    #: Names besides the id: brands, other spellings, other languages.
    names: tuple[str, ...] = ()
    #: ATC codes for systemic use, single and in combinations.
    atc: tuple[str, ...] = ()
    #: Why no card is drawn for it, though it is in classes that other rules ask for.
    no_card: str = ""
    #: Why there is no class, or no ATC code.
    no_class: str = ""
    no_atc: str = ""
    #: Classes whose membership was not read in a stored source.
    unconfirmed: tuple[str, ...] = ()
    #: Class -> severity, instead of the class's default.
    severity: dict[str, Severity] = {}
    #: Class -> severity under a policy of the region ``eu``, for the drug's own sake.
    severity_eu: dict[str, Severity] = {}
    #: Classes that the region of a policy does not raise: the drug is no member for whose sake the region forbids the class.
    unraised: tuple[str, ...] = ()
    #: Classes that are critical when the drug is given by injection.
    parenteral_critical: tuple[str, ...] = ()
    #: Of equally severe classes these lead, in this order; needed where a drug is in several that alert.
    lead: tuple[str, ...] = ()
    #: Classes of which, as long as they are information only, nothing is said at an order.
    visits_only: tuple[str, ...] = ()
    #: Classes that are told at visits only (``InteractionClass.visits_only``), but for this drug at an order, too.
    speaks_at_orders: tuple[str, ...] = ()
    #: It is sold as an oily injection only: an injection of it is a depot, whatever it is called.
    depot_by_injection: bool = False
    #: Days until its effect on the clozapine level is full, and until it is gone after the last dose, instead of the class's.
    onset_days: int | None = None
    offset_days: int | None = None
    #: What is true of this drug alone, a sentence.
    note: str = ""


class Pair(Struct, frozen=True, forbid_unknown_fields=True):
    """Two drugs that must not meet beside clozapine: one by injection, and any of a class."""

    injected: str
    beside: str
    severity: Severity
    headline: str
    step: str
    source: str
    section: str = ""
    confirmed: bool = True


class Told(Struct, frozen=True, forbid_unknown_fields=True):
    """What documents of one region say of a class, and which."""

    says: str
    source: str
    section: str = ""
    confirmed: bool = True


class InteractionClass(Struct, frozen=True, forbid_unknown_fields=True):
    """A group of drugs that act alike on clozapine (clinical.md 2.4). Without ``finding`` it is only asked for by other rules."""

    id: str
    title: str
    source: str
    #: Ids of its members, from their own records.
    drugs: tuple[str, ...] = ()
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
    #: The same under a policy of the region ``us``, whose patients the documents of the class do not speak of.
    us: Told | None = None
    #: Steps instead of ``steps`` while clozapine is being titrated.
    titration_steps: tuple[str, ...] = ()
    #: Days until the effect on the clozapine level is full, and until it is gone after the last dose.
    onset_days: int = 0
    offset_days: int = 0
    #: ``long_standing`` holds only while the record shows this: an ECG taken since, a laxative that is taken.
    settled_by: Literal["", "ecg", "laxative"] = ""
    #: As information it is for a visit, not for an order.
    visits_only: bool = False
    #: The EHR's own interaction checker may be left to tell of it.
    may_be_left: bool = False
    pairs: tuple[Pair, ...] = ()
    #: Words in a product's name by which it is kept for an emergency: information only.
    kept_for_emergency: tuple[str, ...] = ()


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


class _Products(Struct, forbid_unknown_fields=True):
    combinations: dict[str, tuple[str, ...]]
    long_acting: _LongActing
    product: tuple[ProductRow, ...]


class NoCard(Struct, frozen=True, forbid_unknown_fields=True):
    """Drugs that are known and draw no card, why, and from which document that was decided (``knowledge/no_card.toml``)."""

    id: str
    title: str
    reason: str
    source: str
    names: tuple[str, ...]
    #: Codes of the drugs alone (ATC), and of their ingredients (RxNorm).
    atc: tuple[str, ...] = ()
    rxnorm: tuple[str, ...] = ()
    confirmed: bool = True


class _NoCards(Struct, forbid_unknown_fields=True):
    group: tuple[NoCard, ...]


class _Interactions(Struct, forbid_unknown_fields=True, rename={"classes": "class"}):
    classes: tuple[InteractionClass, ...]


def _load(name: str) -> object:
    return tomllib.loads((files("service.alerts") / "knowledge" / name).read_text(encoding="utf-8"))


@cache
def drugs() -> dict[str, Drug]:
    """Every drug by id, in alphabetical order. Raises KnowledgeError for a record that cannot be meant."""
    try:
        found = msgspec.convert(_load("drugs.toml"), dict[str, Drug])
    except msgspec.ValidationError as error:
        raise KnowledgeError(f"drugs.toml: {error}") from error
    known = tuple(c.id for c in _defined_classes())
    told = frozenset(c.id for c in _defined_classes() if c.finding)
    for wrong in wrong_drugs(found, known, told):
        raise KnowledgeError(f"drugs.toml: {wrong}")
    return dict(sorted(found.items()))


def wrong_drugs(
    found: Mapping[str, Drug], known: Sequence[str], told: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Sentences on records that cannot be meant.

    Args:
        found: drug id -> record.
        known: ids of the classes that are defined.
        told: those of them that raise a finding.
    """
    owner: dict[str, str] = {}
    for drug_id, drug in found.items():
        named = (
            *drug.unconfirmed, *drug.severity, *drug.severity_eu, *drug.unraised, *drug.parenteral_critical, *drug.lead, *drug.visits_only,
            *drug.speaks_at_orders,
        )  # fmt: skip
        for class_id in (*drug.classes, *named):
            if class_id not in known:
                near = get_close_matches(class_id, known, 1)
                yield f"{drug_id}: {class_id!r} is no class{f', expected {near[0]!r}' if near else ''} (interactions.toml)"
            elif class_id not in drug.classes:
                yield f"{drug_id}: {class_id!r} is not among its own classes"
        if bool(drug.classes) == bool(drug.no_class):
            near = get_close_matches(drug_id, [d for d in found if d != drug_id], 1)
            expected = f"; is {near[0]!r} meant?" if near else ""
            yield f"{drug_id}: expected classes, or no_class with the reason why it has none{expected}"
        if len(told.intersection(drug.classes)) > 1 and not drug.lead:
            yield f"{drug_id}: it is in several classes that alert; expected lead, the one that matters most first"
        if bool(drug.atc) == bool(drug.no_atc):
            yield f"{drug_id}: expected atc codes, or no_atc with the reason why it has none"
        for name in (drug_id, *drug.names):
            if (other := owner.setdefault(name.lower(), drug_id)) != drug_id:
                yield f"{drug_id}: the name {name!r} is one of {other!r}, too; a name leads to one drug"
            elif name is not drug_id and name.lower() == drug_id:
                yield f"{drug_id}: the name {name!r} is its id"
    used = {class_id for drug in found.values() for class_id in drug.classes}
    for class_id in known:
        if class_id not in used:
            yield f"class {class_id!r} has no drug"


@cache
def _defined_classes() -> tuple[InteractionClass, ...]:
    """The classes of the data file, without their members."""
    return msgspec.convert(_load("interactions.toml"), _Interactions).classes


@cache
def classes() -> dict[str, InteractionClass]:
    """Every class by id, in the order of the data file, with its members."""
    return {group.id: _with_members(group) for group in _defined_classes()}


def _with_members(group: InteractionClass) -> InteractionClass:
    members = {drug_id: drug for drug_id, drug in drugs().items() if group.id in drug.classes}
    return replace(
        group,
        drugs=tuple(members),
        severity_of={i: d.severity[group.id] for i, d in members.items() if group.id in d.severity},
        parenteral_critical=tuple(i for i, d in members.items() if group.id in d.parenteral_critical),
        unconfirmed=tuple(i for i, d in members.items() if group.id in d.unconfirmed),
    )


@cache
def _product_data() -> _Products:
    found = msgspec.convert(_load("products.toml"), _Products)
    for name, parts in (*found.combinations.items(), *((row.label, row.drugs) for row in found.product)):
        for part in parts:
            if part not in drugs():
                near = get_close_matches(part, drugs(), 1)
                expected = f", expected {near[0]!r}" if near else ""
                raise KnowledgeError(f"products.toml: {name!r} leads to {part!r}, which is no drug{expected}")
    return found


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
    return tuple(drugs())


def names_of(drug_id: str) -> tuple[str, ...]:
    """The names a drug is recognised by, the generic one first."""
    generic = drug_id.replace("-", " ")
    return (generic, *drugs()[drug_id].names)


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
def onset_days(drug_id: str, class_id: str) -> int:
    """Days until a drug's effect on the clozapine level is full."""
    own = drugs()[drug_id].onset_days
    return classes()[class_id].onset_days if own is None else own


@cache
def offset_days(drug_id: str, class_id: str) -> int:
    """Days after the last dose until a drug's effect on the clozapine level is gone."""
    own = drugs()[drug_id].offset_days
    return classes()[class_id].offset_days if own is None else own


@cache
def longest_offset_days() -> int:
    """The most of :func:`offset_days` of all drugs."""
    of_drugs = (d.offset_days for d in drugs().values() if d.offset_days is not None)
    return max((*of_drugs, *(c.offset_days for c in classes().values())))


@cache
def atc() -> dict[str, tuple[str, ...]]:
    """Drugs behind each shipped ATC code of an interacting drug for systemic use."""
    found: dict[str, tuple[str, ...]] = {}
    for drug_id, drug in drugs().items():
        for code in drug.atc:
            found[code] = (*found.get(code, ()), drug_id)
    return found


def product_rows() -> tuple[ProductRow, ...]:
    """The shipped product codes, as listed."""
    return _product_data().product


@cache
def _products() -> dict[tuple[str, str], Product]:
    found = {(ATC, code): Product(drugs, " and ".join(drugs)) for code, drugs in atc().items()}
    for row in _product_data().product:
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


def imported() -> tuple[dict[tuple[str, str], Product], str]:
    """The codes of the imported terminology and its release, for :func:`install` in another process."""
    return _imported.products, _imported.release


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


#: Codes of dm+d are concepts of SNOMED CT, and are sent under either name.
_TWIN = {DMD: SNOMED, SNOMED: DMD}


def product_by_code(system: str, code: str) -> Product | None:
    """What a code of a medication stands for; None when the code is not known. What ships wins over what was imported."""
    system = canonical(system)
    product = _products().get((system, code))
    if product is None and (twin := _TWIN.get(system)) is not None:
        product = _products().get((twin, code))
    if product is not None and product.mg is not None:
        return product
    found = imported_product(system, code) if _imported.products else None
    return found or product or _imported.learned.get((system, code)) or _of_group(system, code)


#: Groups of the ATC in which every drug is a cytotoxic; those of L01 beside them (kinase inhibitors, antibodies, others) are named one by one.
_CYTOTOXIC = ("L01A", "L01B", "L01C", "L01D", "L01XA", "L01XB")


def _of_group(system: str, code: str) -> Product | None:
    """A drug that is known by its group in the ATC alone."""
    if system == ATC and code.startswith(_CYTOTOXIC):
        return Product(("cytotoxic",), f"cytotoxic drug ({code})", confirmed=False)
    return None


@cache
def _of_one_country() -> dict[str, dict[str, tuple[str, ...]]]:
    """Names that mean one drug here and another there: name in lower case -> country -> drugs."""
    own: dict[str, tuple[str, ...]] = {
        name.lower(): (drug_id,) for drug_id in drug_ids() for name in (drug_id, *names_of(drug_id))
    }
    own |= {name.lower(): parts for name, parts in _product_data().combinations.items()}
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, meanings in brands.by_name().items():
        if brands.agreed(meanings) is None or (name in own and brands.agreed(meanings) != own[name]):
            found[name] = meanings
    return found


def _brand_index() -> dict[str, tuple[str, ...]]:
    """Names of ``brands.toml`` that mean the same wherever they are known."""
    found: dict[str, tuple[str, ...]] = {}
    for name, meanings in brands.by_name().items():
        for part in {d for drugs in meanings.values() for d in drugs}:
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
    for name, parts in _product_data().combinations.items():
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
def without_card() -> tuple[NoCard, ...]:
    """Groups of drugs that are known and draw no card."""
    return msgspec.convert(_load("no_card.toml"), _NoCards).group


@cache
def _without_card() -> re.Pattern[str]:
    pattern = branches((n.lower() for group in without_card() for n in group.names), r"\s+")
    return re.compile(rf"(?<!\w)(?:{pattern})(?:(?!\w)|(?=\d+(?:[.,]\d+)?\s*mg\b))", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_known_without_card(text: str) -> bool:
    """True when a text names a drug that is known and draws no card: it is recognised, though nothing is said of it."""
    return _without_card().search(text) is not None


@cache
def _codes_without_card() -> frozenset[tuple[str, str]]:
    coded = ((ATC, "atc"), (RXNORM, "rxnorm"))
    return frozenset((system, c) for g in without_card() for system, kind in coded for c in getattr(g, kind))


def is_code_without_card(system: str, code: str) -> bool:
    """True for the code of a drug that is known and draws no card, whatever it is called beside it."""
    return (canonical(system), code) in _codes_without_card()


@cache
def _long_acting() -> re.Pattern[str]:
    words = "|".join(re.escape(w) for w in _product_data().long_acting.words)
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_long_acting(text: str) -> bool:
    """True when a product's name says that it is a long-acting injection."""
    return _long_acting().search(text) is not None
