"""Drugs that are known and draw no card (``knowledge/no_card.toml``)."""

from __future__ import annotations

import re
from functools import cache, lru_cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge import brands
from service.alerts.knowledge.branches import branches
from service.alerts.knowledge.code_systems import ATC, RXNORM, canonical
from service.alerts.knowledge.data_file import load
from service.alerts.knowledge.drugs import drugs
from service.alerts.knowledge.product_codes import is_harmless
from service.alerts.knowledge.spelling import folded


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


@cache
def without_card() -> tuple[NoCard, ...]:
    """Groups of drugs that are known and draw no card."""
    return msgspec.convert(load("no_card.toml"), _NoCards).group


@cache
def _without_card() -> re.Pattern[str]:
    pattern = branches((n.lower() for group in without_card() for n in group.names), r"\s+")
    return re.compile(rf"(?<!\w)(?:{pattern})(?:(?!\w)|(?=\d+(?:[.,]\d+)?\s*mg\b))", re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_known_without_card(text: str) -> bool:
    """True when a text names a drug that is known and draws no card: it is recognised, though nothing is said of it."""
    if _without_card().search(text) is not None:
        # “Dafalgan” draws no card, “Dafalgan codéine” does.
        return not any(longer in text.lower() for longer in _longer_brands())
    return any(folded(word.group()) in _folded_names() for word in _WORD.finditer(text))


@cache
def _longer_brands() -> tuple[str, ...]:
    """Brands of drugs with a card that begin with a name of none."""
    known = {n.lower() for group in without_card() for n in group.names}
    return tuple(b for b in brands.by_name() if any(b.startswith(f"{n} ") for n in known))


_WORD = re.compile(r"[^\W\d_]{6,}")


@cache
def _folded_names() -> frozenset[str]:
    """Names in other European languages: Pantoprazol, atorvastatina. A form that a drug with a card shares leads to none."""
    forms = {folded(name) for group in without_card() for name in group.names if name.islower()}
    others = {folded(name) for id, drug in drugs().items() for name in (id, *drug.names)}
    return frozenset(forms - others - {""})


@cache
def _codes_without_card() -> frozenset[tuple[str, str]]:
    coded = ((ATC, "atc"), (RXNORM, "rxnorm"))
    return frozenset((system, c) for g in without_card() for system, kind in coded for c in getattr(g, kind))


def is_code_without_card(system: str, code: str) -> bool:
    """True for the code of a drug that is known and draws no card, whatever it is called beside it."""
    known = canonical(system)
    named = (known, code.strip().upper() if known == ATC else code.strip())
    return named in _codes_without_card() or is_harmless(*named)
