"""Cards on a terminal, in colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.markdown import Markdown
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.alerts.facts.ledger import Ledger

_COLOURS = {"critical": "red", "warning": "yellow", "info": "blue"}


def print_cards(console: Console, cards: Iterable[Mapping[str, Any]]) -> None:
    """Print cards as a clinician would meet them."""
    for card in cards:
        colour = _COLOURS.get(card["indicator"], "white")
        topic = card["source"].get("topic", {}).get("code", "")
        body: list[Any] = [Text(card["summary"], style="bold")]
        if card.get("detail"):
            body += [Text(), Markdown(card["detail"])]
        offers = [f"[ {s['label']} ]" for s in card.get("suggestions", [])]
        if offers:
            body += [Text(), Text("  ".join(offers), style="cyan")]
        console.print(
            Panel(
                Group(*body), title=f"{card['indicator']} · {topic}", title_align="left", border_style=colour
            )
        )


#: What nobody understood comes first: it is what an integrator has to look at.
_FATES = {"not understood": 0, "irrelevant": 1, "read": 2}


def print_ledger(console: Console, ledger: Ledger) -> None:
    """Print what became of everything that was given, and the sums."""
    table = Table("resource", "source", "what became of it", "why")
    for entry in sorted(ledger.entries, key=lambda e: _FATES[e.fate]):
        resource = f"{entry.ref}, {entry.element}" if entry.element else entry.ref
        table.add_row(Text(resource or "–"), entry.source, entry.fate, Text(entry.why))
    console.print(table)
    sums = ledger.sums()
    console.print(
        f"{sums['given']} given = {sums['read']} read + {sums['irrelevant']} irrelevant + {sums['not understood']} not understood; "
        f"{sums['elements']} elements of what was read were not understood."
    )
