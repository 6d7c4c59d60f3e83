"""One of many words as a pattern: words that begin alike share their first letters, so that a text which holds none is soon seen through."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Letters by which words are told apart before any of them is tried.
_LETTERS = 3


def branches(words: Iterable[str], blank: str) -> str:
    """A pattern that finds one of the words, of those that fit the longest.

    Args:
        words: in small letters.
        blank: the pattern of what stands between two words of a name.
    """
    return _branches(sorted(set(words), key=lambda word: (-len(word), word)), blank, 0)


def _branches(words: list[str], blank: str, letters: int) -> str:
    if len(words) == 1 or letters == _LETTERS:
        return "|".join(_spaced(word, blank) for word in words)
    alike: dict[str, list[str]] = {}
    for word in words:
        alike.setdefault(word[:1], []).append(word[1:])
    # The empty rest of a short word comes last, after every longer one.
    return "|".join(
        f"{_spaced(first, blank)}(?:{_branches(rests, blank, letters + 1)})"
        for first, rests in sorted(alike.items(), reverse=True)
    )


def _spaced(word: str, blank: str) -> str:
    return re.escape(word).replace(r"\ ", blank)
