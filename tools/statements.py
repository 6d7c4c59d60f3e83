"""What the literature says, and where the service has it (``docs/clinical-safety/statements.toml``): read, and made into a page."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

_FILE = Path(__file__).parents[1] / "docs" / "clinical-safety" / "statements.toml"
_WRITTEN = "docs/clinical-safety/statements.toml"


class Statement(Struct, frozen=True, forbid_unknown_fields=True):
    """One statement of the literature, in our words.

    Args:
        says: the statement.
        sources: short names of the documents that make it.
        by: codes of the findings that carry it.
        stands: where it stands besides or instead: ``policy:PATH[@POLICY]``, ``patient:SECTION``, ``pathway:CODE``, ``card:CODE``.
        shown: vignettes and tests that show it, below ``tests/alerts``.
        why: why it is no matter for a card; "" where findings carry it.
        remark: what a reader should know besides.
    """

    says: str
    sources: tuple[str, ...]
    by: tuple[str, ...] = ()
    stands: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    why: str = ""
    remark: str = ""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    statement: tuple[Statement, ...]


@cache
def statements() -> tuple[Statement, ...]:
    """Every statement, in the order of the file."""
    return msgspec.convert(tomllib.loads(_FILE.read_text(encoding="utf-8")), _File).statement


def place(stands: str) -> str:
    """Where a statement stands, with a link, as seen from the page."""
    kind, _, what = stands.partition(":")
    match kind:
        case "policy":
            path, _, policy = what.partition("@")
            where = f"[{policy}](../policies/{policy}.md)" if policy else "[policies](../policies)"
            return f"{where}: `{path}`"
        case "patient":
            return f"[sheet for the patient](../patient-sheets): {what.replace('-', ' ')}"
        case "pathway":
            return f"text of the pathway: `{what}`"
        case "card":
            return f"text of the card `{what}`"
    raise ValueError(f"{stands!r}: expected policy:, patient:, pathway: or card:")


def rows() -> list[tuple[str, ...]]:
    """The page's table: statement, sources, where it is, what shows it."""
    return [
        (
            s.says,
            ", ".join(s.sources),
            ", ".join(f"`{code}`" for code in s.by) or "no matter for a card",
            "; ".join(map(place, s.stands)),
            ", ".join(f"`tests/alerts/{name}`" for name in s.shown),
            s.why or s.remark,
        )
        for s in statements()
    ]


def introduction() -> str:
    """What the page says above its table."""
    carried = sum(bool(s.by) for s in statements())
    return (
        "Statements of the sources on treatment-resistant schizophrenia and clozapine – *CRS*, *TRS-B*, *TRS-C* and *IMP*, by the short names of the [specification](../spec/clinical.md) – in our words. "
        f"Of {len(statements())} statements {carried} are carried by findings; {len(statements()) - carried} are no matter for a card, and the line says why and where they stand instead: on the page of the policy, on the "
        f"sheet for the patient or in the text of the pathway. The list is `{_WRITTEN}`; a test holds every finding, place, vignette and test it names against the service."
    )
