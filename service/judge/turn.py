"""One question at a time in a process, from whichever thread."""

from __future__ import annotations

from threading import Lock

#: Judging waits for nothing and is Python from end to end, so that threads would take turns anyway. But what is read once – drugs,
#: codes, a policy – is read by whoever asks first, and two that do so at once crash the process: msgspec describes a Struct to itself
#: when it first converts to one, and shows the description to other threads half made (0.22). Uuids are drawn for one thread, too.
TURN = Lock()
