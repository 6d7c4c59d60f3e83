"""Results by their words (``knowledge/test_words.toml``): which kind a title names that carries no code this service knows."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

import msgspec
from msgspec import Struct

from service.alerts.knowledge.data_file import load

_WORD = re.compile(r"[a-z]+")


class Words(Struct, frozen=True):
    """Words that name a kind: parts of a title, whole words, and parts by which it is something else."""

    part: tuple[str, ...] = ()
    word: tuple[str, ...] = ()
    not_: tuple[str, ...] = msgspec.field(name="not", default=())


class _Table(Struct):
    kind: dict[str, Words]
    elsewhere: Words
    #: Names of the blood count as a whole.
    panel: Words


def _plain(text: str) -> str:
    """Lower case, without accents (and without the marks that make ヒ ピ)."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))


@cache
def _table() -> _Table:
    return msgspec.convert(load("test_words.toml"), _Table)


@cache
def _folded() -> tuple[tuple[str, ...], tuple[tuple[str, Words], ...]]:
    """What is elsewhere, and the words of each kind, as they are compared."""

    def fold(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_plain, words))

    kinds = tuple(
        (kind, Words(fold(said.part), fold(said.word), fold(said.not_)))
        for kind, said in _table().kind.items()
    )
    return fold(_table().elsewhere.not_), kinds


@cache
def kinds_of_words() -> dict[str, Words]:
    """Every kind that is recognised by words."""
    return _table().kind


@lru_cache(maxsize=4096)
def is_panel_of_counts(title: str) -> bool:
    """Whether a title names the blood count as a whole; not one of another specimen."""
    plain, said = _plain(title), _table().panel
    if any(other in plain for other in _folded()[0]):
        return False
    return any(map(plain.__contains__, map(_plain, said.part))) or not set(_WORD.findall(plain)).isdisjoint(
        said.word
    )


@lru_cache(maxsize=8192)
def kind_by_words(title: str) -> str:
    """Id of the kind that a title names; empty for any other test, and for one of another specimen than blood."""
    plain = _plain(title)
    elsewhere, kinds = _folded()
    if any(other in plain for other in elsewhere):
        return ""
    words: set[str] | None = None
    for kind, said in kinds:
        if not any(part in plain for part in said.part):
            if words is None:
                words = set(_WORD.findall(plain))
            if words.isdisjoint(said.word):
                continue
        if not any(other in plain for other in said.not_):
            return kind
    return ""
