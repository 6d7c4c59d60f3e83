"""Sentences as data: an id of the catalogue and typed parameters, so that another language only adds files.

A rule never joins words. It names a sentence and hands over what is in it – a count, a dose, a day, a drug –; ``service.alerts.say.language``
holds the templates of each language and knows how it writes numbers, days and lists. A parameter may be a phrase, itself a sentence of the
catalogue, where it is a thing of its own: a result with its day, a drug with its dose.
"""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct

from service.alerts.facts.reason import Reason
from service.alerts.facts.record_text import RecordText, to_show


class Number(Struct, frozen=True, gc=False):
    """A number without unit."""

    value: float
    digits: int = 2


class Quantity(Struct, frozen=True, gc=False):
    """A number with its unit (UCUM or as the policy writes it): ``512 ms``."""

    value: float
    unit: str
    digits: int = 2


class Count(Struct, frozen=True, gc=False):
    """A blood count in cells/µL. It is never rounded up: 1499.6 is below 1500, and the words must not say otherwise."""

    cells: float


class Dose(Struct, frozen=True, gc=False):
    """A dose in mg."""

    mg: float


class Day(Struct, frozen=True, gc=False):
    """A calendar day of the site; None is a day that nobody knows."""

    on: date | None


class Moment(Struct, frozen=True, gc=False):
    """A day and clock time, in the site's time zone."""

    at: datetime


class Hours(Struct, frozen=True, gc=False):
    """A length of time in hours; in days and hours once it is longer than two days."""

    value: float


class Counted(Struct, frozen=True, gc=False):
    """So many of a thing: ``1 day``, ``5 days``; ``thing`` is a noun of the language (``[nouns]``)."""

    value: int
    thing: str = "day"


class Record(Struct, frozen=True, gc=False):
    """Text of the record, made safe for where it is shown and cut: to ``limit`` characters, in a summary to ``short``."""

    text: RecordText
    limit: int = 200
    short: int = 60


class Why(Struct, frozen=True, gc=False):
    """Why something was not read, or how: written, and then made safe and cut as a whole, for text of the record stands in it."""

    reason: Reason
    limit: int = 200
    short: int = 60


class Sent(Struct, frozen=True, gc=False):
    """A value as it was sent, short and on one line, without angle brackets."""

    text: RecordText
    limit: int = 40


class Term(Struct, frozen=True, gc=False):
    """A word of the data – a drug, a test, a condition, a text of the policy –: what it belongs to, its id there, and its English."""

    table: str
    id: str
    english: str
    #: At the beginning of a sentence.
    first: bool = False


class Written(Struct, frozen=True, gc=False):
    """A text of a finding that is written already, in the language and for the place where it stands again: its summary on another card."""

    text: str


class Listed(Struct, frozen=True, gc=False):
    """``a, b and c``; with ``last = ""`` only commas."""

    items: tuple[Param, ...]
    last: str = "and"


class Sentence(Struct, frozen=True, gc=False):
    """A sentence, or a phrase, of the catalogue.

    Args:
        id: ``section.name`` of the catalogue: the section is the code of a finding, or what several of them share.
        params: name in the template -> what stands there.
    """

    id: str
    params: dict[str, Param] = {}


Param = (
    Number
    | Quantity
    | Count
    | Dose
    | Day
    | Moment
    | Hours
    | Counted
    | Record
    | Why
    | Sent
    | Term
    | Written
    | Listed
    | Sentence
)


def sentence(id: str, **params: Param) -> Sentence:
    """A sentence of the catalogue by its id."""
    return Sentence(id, params)


def quoted(table: str, id: str, english: str) -> Sentence:
    """A text of the data that is a sentence by itself: what a policy says of a band, what a table says of a drug."""
    return Sentence("quoted.text", {"text": Term(table, id, english)})


def quoting(text: str, limit: int = 200, short: int = 60) -> Record:
    """Words of this program that may quote the record – why a result was not used, how a dose was read –, made as harmless as its text."""
    return Record(to_show(text, limit), limit, short)


def recorded(text: RecordText) -> Sentence:
    """Text of the record that stands by itself: what a result or an order is called there."""
    return Sentence("quoted.text", {"text": Record(text)})


def explained(reason: Reason) -> Sentence:
    """A reason that stands by itself."""
    return Sentence("quoted.text", {"text": Why(reason)})


def unworded(param: Param) -> str:
    """What a sentence is about, in no language: its id with what stands in it, the words of the data by their ids."""
    match param:
        case Sentence():
            said = ", ".join(f"{name}={unworded(value)}" for name, value in sorted(param.params.items()))
            return f"{param.id}({said})"
        case Listed():
            return f"[{', '.join(map(unworded, param.items))}]"
        case Term():
            return f"{param.table}/{param.id}"
        case Why():
            return repr(param.reason)
        case Record() | Sent() | Written():
            return repr(param.text)
    return repr(param)
