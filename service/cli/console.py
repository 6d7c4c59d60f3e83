"""The console of the commands: what it prints is data, never markup."""

from __future__ import annotations

from rich.console import Console


def plain() -> Console:
    """A console that takes brackets and colons for what they are: an id ``[/x]`` ended a list with a traceback."""
    return Console(markup=False, emoji=False, highlight=False)
