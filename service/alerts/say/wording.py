"""Words for clinicians: numbers, dates and record text, safe to put on a card.

Everything that comes from the record passes through :func:`safe` (Markdown) or :func:`plain` (summary).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from service.alerts.facts import record_text
from service.alerts.facts.remembered_texts import remembering

SUMMARY_LIMIT = 139  # CDS Hooks: fewer than 140 characters

_MARKUP = re.compile(r"([\\`*_\[\]|~#@!])")


@remembering(4096, 1000)
def safe(text: str, limit: int = 200) -> str:
    """Record text for GitHub-flavoured Markdown: no markup, no HTML, no automatic link survives."""
    text = record_text.to_show(text, limit)
    text = _MARKUP.sub(r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GFM turns bare addresses into links; a card carries no link that the record wrote.
    return re.sub(r"://", r"\\://", text).replace("www.", "www\\.").replace("WWW.", "WWW\\.")


@remembering(4096, 1000)
def plain(text: str, limit: int = 60) -> str:
    """Record text for a summary (plain text): one line, no angle brackets, short."""
    return record_text.to_show(text, limit).replace("<", "‹").replace(">", "›")


#: Characters of a reason: it may quote a unit as written and as coded, or the values it was found by.
REASON_LIMIT = 400


def summary(text: str) -> str:
    """A summary cut to what CDS Hooks allows, at a word if possible."""
    text = record_text.one_line(text)
    if len(text) <= SUMMARY_LIMIT:
        return text
    cut = text[: SUMMARY_LIMIT - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut[80:] else cut).rstrip(" ,;:–-") + "…"


@lru_cache(maxsize=2048)
def number(value: float, digits: int = 2) -> str:
    """A number without needless zeros: 1200, 0.4, 12.5."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(value: float) -> str:
    """A blood count in cells/µL: ``1,499/µL`` would be misread across locales, so no separators.

    Never rounded up: 1499.6 is below 1500, and the words must not say otherwise.
    """
    return f"{math.floor(value)}/µL"


def mg(value: float) -> str:
    """A dose in mg, halves of a 12.5 mg step kept."""
    return f"{number(value, 1)} mg"


def days(value: int) -> str:
    """``1 day``, ``5 days``."""
    return "1 day" if value == 1 else f"{value} days"


@lru_cache(maxsize=256)
def capital(title: str) -> str:
    """A title of the data at the beginning of a sentence."""
    return title[:1].upper() + title[1:]


def listed(items: list[str] | tuple[str, ...]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
