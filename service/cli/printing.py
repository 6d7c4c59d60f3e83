"""Cards on a terminal, in colour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.markdown import Markdown
from rich.panel import Panel
from rich.text import Text

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
