"""What a resource says to people (R4 narrative.html)."""

from __future__ import annotations

import html


def narrative(text: str) -> dict[str, str]:
    """A resource in one paragraph for people."""
    return {
        "status": "generated",
        "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{html.escape(" ".join(text.split()), quote=False)}</p></div>',
    }
