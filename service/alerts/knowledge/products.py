"""What the code of a medication stands for: what ships (``knowledge/products.toml``), what was imported, what was learned."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache, lru_cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge import ndc
from service.alerts.knowledge.code_systems import ATC, DMD, SNOMED, canonical
from service.alerts.knowledge.data_file import KnowledgeError, load
from service.alerts.knowledge.drugs import drugs
from service.alerts.knowledge.product_codes import meaning_of


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


@cache
def product_data() -> _Products:
    """The data file as it stands. Raises KnowledgeError for a product of a drug that does not exist."""
    found = msgspec.convert(load("products.toml"), _Products)
    for name, parts in (*found.combinations.items(), *((row.label, row.drugs) for row in found.product)):
        for part in parts:
            if part not in drugs():
                near = get_close_matches(part, drugs(), 1)
                expected = f", expected {near[0]!r}" if near else ""
                raise KnowledgeError(f"products.toml: {name!r} leads to {part!r}, which is no drug{expected}")
    return found


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
    return product_data().product


@cache
def _products() -> dict[tuple[str, str], Product]:
    found = {(ATC, code): Product(drugs, " and ".join(drugs)) for code, drugs in atc().items()}
    for row in product_data().product:
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
    system, code = canonical(system), code.strip()
    if system == ATC:
        code = code.upper()
    product = _products().get((system, code))
    if product is None and (twin := _TWIN.get(system)) is not None:
        product = _products().get((twin, code))
    if product is not None and product.mg is not None:
        return product
    found = imported_product(system, code) if _imported.products else None
    return (
        found
        or product
        or _imported.learned.get((system, code))
        or _of_group(system, code)
        or _listed(system, code)
    )


@lru_cache(maxsize=4096)
def _listed(system: str, code: str) -> Product | None:
    """A product of the long list, which gives neither names nor strengths."""
    found = meaning_of(system, code)
    return Product(found.drugs, found.label, named=True) if found is not None else None


#: Groups of the ATC in which every drug is a cytotoxic; those of L01 beside them (kinase inhibitors, antibodies, others) are named one by one.
_CYTOTOXIC = ("L01A", "L01B", "L01C", "L01D", "L01XA", "L01XB")


def _of_group(system: str, code: str) -> Product | None:
    """A drug that is known by its group in the ATC alone."""
    if system == ATC and code.startswith(_CYTOTOXIC):
        return Product(("cytotoxic",), f"cytotoxic drug ({code})", confirmed=False)
    return None
