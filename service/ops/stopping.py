"""That the process has been told to stop."""

from __future__ import annotations


class Stopping:
    """Readiness goes first: whoever sends calls here has a while to send them elsewhere, and all that still come are answered."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self) -> None:
        """From now on readiness is red, and every answer ends its connection."""
        self.begun = True

    @property
    def reason(self) -> str:
        """For health; empty while nobody has asked for a stop."""
        return "the process is about to stop; it answers what still comes" if self.begun else ""
