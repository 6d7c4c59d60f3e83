"""What of a policy is reference only: bands, schedule or restart hold a number that nobody has read in the primary text.

Whoever uses such a part answers for it. A site that has read the text says so in its own policy file (``[[confirmations]]``); from
then on the part counts as confirmed there, and the page names who confirmed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.alerts.policy.parts.values import PART_OF, Confirmation
from service.alerts.policy.policy import Policy


def reference_only(policy: Policy) -> tuple[str, ...]:
    """Which of ``bands``, ``schedule`` and ``restart`` hold an unconfirmed number, in this order."""
    return tuple(part for part, fields in PART_OF.items() if any(_is_open(policy, name) for name in fields))


def reference_words(policy: Policy) -> str:
    """``Reference only for bands and restart: …``; "" where nothing of that is open."""
    parts = reference_only(policy)
    if not parts:
        return ""
    named = ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + parts[-1]
    return (
        f"Reference only for {named}: numbers there were not read in the primary text. "
        "A site relies on them once it has confirmed them in its own policy file."
    )


def confirmed_words(confirmation: Confirmation) -> str:
    """``Confirmed by the site: restart, by A. Berg on 2026-12-01 (label of 2025, section 2.6).``"""
    c = confirmation
    return f"Confirmed by the site: {', '.join(c.parts)}, by {c.by} on {c.on} ({c.text})."


def _is_open(policy: Policy, name: str) -> bool:
    return any(not cited.confirmed for cited in _cited(getattr(policy, name)))


def _cited(part: Any) -> Iterator[Any]:
    """Everything in a part of a policy that is confirmed or not."""
    if isinstance(part, tuple):
        for item in part:
            yield from _cited(item)
        return
    names = getattr(part, "__struct_fields__", ())
    if "confirmed" in names:
        yield part
    for name in names:
        yield from _cited(getattr(part, name))
