"""The one exception of the Python face."""

from __future__ import annotations


class JudgeError(ValueError):
    """A question that cannot be judged, or an option that cannot be used; the message is one plain sentence that says why."""
