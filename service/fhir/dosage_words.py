"""Words of dosage texts (``dosage_words.toml``): a text is cut into them, the longest phrase first, in time linear in its length."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

#: Longer texts are not read.
LONGEST = 2_000

_TOKEN = re.compile(
    r"(?P<clock>\d{1,2}:\d{2}(?!\d))|(?P<number>\d+(?:[.,]\d+)*|(?<![\w.,])\.\d+)|(?P<word>[^\W\d_]+)|(?P<sign>[^\w\s]|_)"
)
#: “p.o.”, “b.i.d.”, “i.e.”: the dots are no ends of sentences.
_DOTTED = re.compile(r"\b(?:[^\W\d_]\.\s?){1,3}[^\W\d_]\b\.?")
_PLURAL = re.compile(r"\((?:s|en|n|es)\)")
_FRACTIONS = {"½": (" halfsign ", 0.5), "¼": (" quartersign ", 0.25), "¾": (" threequartersign ", 0.75)}
_FRACTION_OF = {name.strip(): value for name, value in _FRACTIONS.values()}
#: Signs that only set off: quotation marks, underscores.
_SET_OFF = frozenset("\"'’‘“”`´_")
#: After these a full stop ends no sentence.
_SHORT = frozenset(
    {"tab", "tabs", "tabl", "tbl", "cap", "caps", "kps", "stk", "cp", "tgl", "max", "dly", "noct", "noc", "morn", "eve", "no", "qty", "approx"}
)  # fmt: skip


class Word(Struct, frozen=True, gc=False):
    """One word or phrase of a text: its kind (a table of ``dosage_words.toml``), what it stands for, and how it was written.

    Kinds besides the tables': ``number`` (value), ``vulgar`` (½), ``clock`` (minutes after midnight), ``sign``, ``stop``, ``unknown``.
    """

    kind: str
    value: Any
    text: str


def _folded(text: str) -> str:
    """Lower case without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))


class _Branch:
    """Where a phrase may go on, and what it is when it ends here."""

    __slots__ = ("following", "meaning")

    def __init__(self) -> None:
        self.following: dict[str, _Branch] = {}
        self.meaning: tuple[str, Any] | None = None


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for match in _TOKEN.finditer(text):
        yield match.lastgroup or "", match.group()


@cache
def _phrases() -> _Branch:
    """The tables as a tree of words."""
    tables = tomllib.loads((files("service.fhir") / "dosage_words.toml").read_text(encoding="utf-8"))
    root = _Branch()

    def add(phrase: str, kind: str, value: Any) -> None:
        branch = root
        for _, token in _tokens(_folded(phrase)):
            branch = branch.following.setdefault(token, _Branch())
        assert branch.meaning is None, f"{phrase!r} stands in two tables"
        branch.meaning = (kind, value)

    plain = tables.pop("words")
    for kind, phrases in plain.items():
        for phrase in phrases:
            add(phrase, kind, None)
    for table, rows in tables.items():
        for key, phrases in rows.items():
            kind, value = _MEANS[table](key)
            for phrase in phrases:
                add(phrase, kind, value)
    return root


_MEANS: dict[str, Any] = {
    "numbers": lambda key: ("number", float(key)),
    "frequencies": lambda key: ("frequency", float(key)),
    "times_a_day": lambda key: ("once", float(key)),
    "every_day": lambda key: ("daily", 1.0) if key == "words" else ("alternate", "every other day"),
    "parts": lambda key: ("part", key),
    "before_a_time": lambda key: ("before", None),
    "as_needed": lambda key: ("as_needed", None),
    "meals": lambda key: ("meals", None),
    "harmless": lambda key: ("harmless", None),
    "ailments": lambda key: ({"words": "ailment", "purposes": "purpose", "describing": "describing"}[key], None),
    "masses": lambda key: ("mass", float(key)),
    "volumes": lambda key: ("volume", float(key)),
}  # fmt: skip


def _number(text: str) -> float | None:
    """“1.5”, “12,5”; None for “1,000” and “1.000”, which are a thousand or one, and for “1.2.2026”."""
    whole, comma, part = text.partition(",")
    if comma:
        if "," in part or "." in text or len(part) > 2:
            return None
        text = f"{whole}.{part}"
    elif text.count(".") > 1 or (len(text.partition(".")[2]) == 3 and text[0] not in "0."):
        return None
    return float(text)


def words_of(text: str) -> list[Word]:
    """The text in words and phrases; whatever no table holds is of the kind ``unknown``."""
    for sign, (name, _) in _FRACTIONS.items():
        text = text.replace(sign, name)
    text = _PLURAL.sub("", _folded(text.replace("\n", ";").replace("\r", " ")))
    text = _DOTTED.sub(lambda m: m.group().replace(".", " "), text)
    tokens = [(kind, token) for kind, token in _tokens(text) if token not in _SET_OFF]
    found: list[Word] = []
    index = 0
    while index < len(tokens):
        branch, at, longest = _phrases(), index, None
        while at < len(tokens) and (following := branch.following.get(tokens[at][1])) is not None:
            branch, at = following, at + 1
            if branch.meaning is not None:
                longest = (branch.meaning, at)
        if longest is not None:
            (kind, value), end = longest
            found.append(Word(kind, value, " ".join(token for _, token in tokens[index:end])))
            index = end
            continue
        found.append(_single(*tokens[index], before=tokens[index - 1][1] if index else ""))
        index += 1
    return found


def _single(kind: str, written: str, *, before: str) -> Word:
    if kind == "number":
        value = _number(written)
        return Word("number", value, written) if value is not None else Word("unknown", None, written)
    if kind == "clock":
        hour, minute = map(int, written.split(":"))
        return (
            Word("clock", hour * 60 + minute, written)
            if hour < 24 and minute < 60
            else Word("unknown", None, written)
        )
    if kind == "sign":
        if written in ".;!":
            return Word("sign" if written == "." and before in _SHORT else "stop", None, written)
        return Word("sign", None, written)
    if written in _FRACTION_OF:
        return Word("vulgar", _FRACTION_OF[written], written)
    return Word("unknown", None, written)
