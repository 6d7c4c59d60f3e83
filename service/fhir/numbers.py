"""Numbers as JSON allows them: of any length."""

from __future__ import annotations

import math

#: No amount in medicine comes near it; what is larger, an integer of hundreds of digits, cannot even be calculated with.
LARGEST = 1e300


def finite(value: object) -> float | None:
    """A number that can be calculated with; None for anything else, a truth value too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= LARGEST and math.isfinite(value) else None
