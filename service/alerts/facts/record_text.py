"""Text of the record: what an EHR wrote, made harmless before anything else looks at it.

Facts hold :data:`RecordText` and no other text of the record; it is made where a resource becomes a fact, by :func:`to_show` (for
people: too long is cut) or :func:`to_read` (for patterns: too long is not read, because the part cut off might have said otherwise).
It is one line: blanks are collapsed, zero-width characters are gone, and a control or a direction override leaves the sign for an
unreadable character (U+FFFD), so that it neither acts nor joins what stood apart: no pattern reads ``1`` NUL ``0`` as ten. It is
not escaped: :mod:`service.alerts.say.wording` does that for the place where it is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NewType

RecordText = NewType("RecordText", str)

#: Characters of a text that is still read; longer ones are not understood. Values, units and reference ranges; names of drugs,
#: problems, tests and answers; dosage instructions.
VALUE = 200
NAME = 500
DOSAGE = 2000
NOTHING = RecordText("")
#: What is longer than so many times its limit is not even tidied: blanks of a fixed-width field are, megabytes are not.
_PADDED = 10
#: Seen by nobody, and often inside a word (soft hyphen, zero-width space): they leave no gap.
_WITHIN_WORDS = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]+"
)

_UNREADABLE = "\ufffd"
_UNREADABLE_RUN = re.compile("\ufffd{2,}")


#: Told of every text before it is read, with its characters: reading is what a call can make expensive. It may end the reading by an
#: exception that is no ``Exception``: nothing on the way takes it for the fault of one record.
Meter = Callable[[int], None]
_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered(meter: Meter | None) -> Iterator[None]:
    """Tell a meter of what is read within."""
    before = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(before)


def one_line(text: str) -> str:
    """A text without line breaks, controls and runs of blanks. The work is proportional to its length."""
    if not text.isprintable():
        text = _WITHIN_WORDS.sub("", text)
        text = "".join([c if c.isprintable() else " " if c.isspace() else _UNREADABLE for c in text])
        text = _UNREADABLE_RUN.sub(_UNREADABLE, text)
    elif "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.split())


def to_show(text: str, limit: int = VALUE) -> RecordText:
    """Text for people: one line, cut to ``limit`` characters."""
    looked_at = text[: limit * _PADDED]
    tidy = one_line(looked_at)
    if len(tidy) <= limit and len(looked_at) == len(text):
        return RecordText(tidy)
    return RecordText(tidy[: limit - 1].rstrip() + "…")


def to_read(text: str, limit: int) -> RecordText | None:
    """Text for patterns: one line; None when it is longer than ``limit`` characters, for a part of it might mislead."""
    if (meter := _meter.get()) is not None:
        meter(len(text))
    if len(text) > limit * _PADDED:
        return None
    tidy = one_line(text)
    return RecordText(tidy) if len(tidy) <= limit else None
