"""Brands and national names of drugs by country (``knowledge/brands.toml``): one name may mean two drugs in two countries."""

from __future__ import annotations

from functools import cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load

#: Countries whose brands are looked for (ISO 3166), whether a public list was found or not.
COUNTRIES = ("US", "GB", "IE", "DE", "AT", "CH", "FR", "NL", "BE", "IT", "ES", "AU", "NZ", "CA", "JP")


class Country(Struct, frozen=True, forbid_unknown_fields=True):
    """The brands of one country, and the public file they were read in."""

    title: str
    source: str
    #: Drug, or drugs joined by ``+`` -> names.
    brands: dict[str, tuple[str, ...]]


class _Brands(Struct, forbid_unknown_fields=True):
    country: dict[str, Country]
    elsewhere: dict[str, tuple[str, ...]]
    names: dict[str, tuple[str, ...]]


@cache
def _data() -> _Brands:
    return msgspec.convert(load("brands.toml"), _Brands)


def countries() -> dict[str, Country]:
    """Every country with a list, by its code."""
    return _data().country


@cache
def by_name() -> dict[str, dict[str, tuple[str, ...]]]:
    """Name in lower case -> country -> drugs; of national names, which hold everywhere, the country is empty."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for code, country in countries().items():
        for drugs, names in country.brands.items():
            for name in names:
                found.setdefault(name.lower(), {})[code] = tuple(drugs.split("+"))
    for code, names in _data().elsewhere.items():
        for name in names:
            found.setdefault(name.lower(), {})[code] = ()
    for drugs, names in _data().names.items():
        for name in names:
            found.setdefault(name.lower(), {})[""] = tuple(drugs.split("+"))
    return found


def agreed(meanings: dict[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """The drugs of a name that means the same wherever it is known; None when countries disagree."""
    drugs = set(meanings.values())
    return next(iter(drugs)) if len(drugs) == 1 else None
