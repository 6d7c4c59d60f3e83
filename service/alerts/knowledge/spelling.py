"""One spelling for the names a drug has in European languages: accents, final vowels and letters that stand for the same sound folded."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

#: Shorter words are not told from each other once they are folded.
SHORTEST = 7
_SOUNDS = (
    ("ph", "f"),
    ("th", "t"),
    ("ch", "c"),
    ("ae", "e"),
    ("oe", "e"),
    ("ks", "x"),
    ("y", "i"),
    ("k", "c"),
)
_TWICE = re.compile(r"([a-z])\1+")
_ENDING = re.compile(r"(?:um|us|[aeo])$")


@lru_cache(maxsize=8192)
def folded(word: str) -> str:
    """One form for Carbamazepin, carbamazépine, carbamazepina; empty for a word too short to be told from others."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(c))
    for sound, letter in _SOUNDS:
        plain = plain.replace(sound, letter)
    plain = _ENDING.sub("", _TWICE.sub(r"\1", plain))
    return plain if len(plain) >= SHORTEST and plain.isascii() and plain.isalpha() else ""
