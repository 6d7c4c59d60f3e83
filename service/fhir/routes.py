"""Whether a drug reaches the circulation (clinical.md 2.4): by its stated route, else its dose form, else the words of its name."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files

import msgspec
from msgspec import Struct

#: Whole words: "immediate release" is not IM.
_PARENTERAL = re.compile(
    r"\b(?:intravenous(?:ly)?|intramuscular(?:ly)?|subcutaneous(?:ly)?|parenteral|injections?|injectable|infusion|iv|im)\b|\bi\.[vm]\.",
    re.IGNORECASE,
)
#: “soft gel”, “liquid gel capsule”, “gel cap” are capsules.
_NO_GEL = r"(?<!soft )(?<!soft-)gel(?![\s-]*cap)"


class _Tables(Struct, forbid_unknown_fields=True):
    places: dict[str, list[str]]
    systemic: dict[str, list[str]]
    indications: dict[str, list[str]]
    absorbed: dict[str, list[str]]
    codes: dict[str, list[str]]
    tongue: dict[str, list[str]]


class _Patterns(Struct):
    place: re.Pattern[str]  # one named group per place
    routes: re.Pattern[str]
    always: re.Pattern[str]
    forms: re.Pattern[str]
    even_of_a_form: re.Pattern[str]
    indication: re.Pattern[str]
    absorbed: dict[str, frozenset[str]]
    codes: dict[str, str]
    tongue: re.Pattern[str]


def _any(words: list[str]) -> str:
    return "|".join(
        _NO_GEL if word == "gel" else re.escape(word).replace(r"\*", r"\w*").replace(r"\ ", r"\s+")
        for word in sorted(words, key=len, reverse=True)
    )


def _words(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{_any(words)})(?!\w)")


@cache
def _patterns() -> _Patterns:
    text = (files("service.fhir") / "routes.toml").read_text(encoding="utf-8")
    tables = msgspec.convert(tomllib.loads(text), _Tables)
    every_place = [word for words in tables.places.values() for word in words]
    by_place = "|".join(f"(?P<{place}>{_any(words)})" for place, words in tables.places.items())
    return _Patterns(
        place=re.compile(rf"(?<!\w)(?:{by_place})(?!\w)"),
        routes=_words(tables.systemic["routes"]),
        always=_words(tables.systemic["always"]),
        forms=_words(tables.systemic["forms"]),
        even_of_a_form=_words(tables.systemic["even_of_a_form"]),
        indication=re.compile(
            rf"(?<!\w)(?:{_any(every_place)})(?:\s+\w+)?\s+(?:{_any(tables.indications['words'])})(?!\w)"
        ),
        absorbed={drug: frozenset(places) for drug, places in tables.absorbed.items()},
        codes={code: place for place, codes in tables.codes.items() for code in codes},
        tongue=_words(tables.tongue["words"]),
    )


def _folded(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))


def _absorbed(drugs: tuple[str, ...], place: str) -> bool:
    absorbed = _patterns().absorbed
    return any(place in absorbed.get(drug, ()) for drug in drugs)


@lru_cache(maxsize=2048)
def route_reaches(route: str, drugs: tuple[str, ...]) -> bool | None:
    """Whether a drug given by this route reaches the circulation; None when the route does not tell."""
    known = _patterns()
    for word in route.split():
        if (place := known.codes.get(word)) is not None:
            return place == "systemic" or _absorbed(drugs, place)
    words = known.indication.sub(" ", _folded(route))
    # “oral inhalation”, “oral topical”: the place is the more telling word; “sublingual” and the like stand alone.
    found = known.place.search(words)
    if found is not None and not known.always.search(words):
        return _absorbed(drugs, found.lastgroup or "")
    return True if known.routes.search(words) or known.always.search(words) else None


@lru_cache(maxsize=4096)
def product_reaches(words: str, drugs: tuple[str, ...]) -> bool:
    """Whether a product reaches the circulation, as far as its names and its form tell."""
    known = _patterns()
    plain = known.indication.sub(" ", _folded(words))
    if known.always.search(plain):
        return True
    found = known.place.search(plain)
    if found is None or _absorbed(drugs, found.lastgroup or ""):
        return True
    return bool(known.forms.search(plain)) and not known.even_of_a_form.search(plain)


@lru_cache(maxsize=4096)
def is_under_the_tongue(instruction: str) -> bool:
    """True when the words of an instruction say that a drug is given under the tongue, whatever the product is made for."""
    return _patterns().tongue.search(_folded(instruction)) is not None


@lru_cache(maxsize=4096)
def is_parenteral(words: str) -> bool:
    """True when a route or a product name says that it is injected."""
    return _PARENTERAL.search(words) is not None
