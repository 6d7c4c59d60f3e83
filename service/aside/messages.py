"""What the service and a judging process say to each other: pickled, each after its length, over a socket that nobody else has.

A process judges one call at a time: what it says is about that one.
"""

from __future__ import annotations

import asyncio
import pickle
import struct
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from cds_hooks import HookRequest
from service.alerts.facts.patient import ClinicianFlag
from service.alerts.knowledge.products import Product
from service.alerts.say.silence import Silence
from service.options.site import Site

_LENGTH = 4
#: Bytes of a message that are read before its reader has asked for them: a body of 5 MB in one go.
WINDOW = 8_000_000

#: ``hook``: a CDS Hooks call; ``check``: ``$clozapine-check``.
Kind = Literal["hook", "check"]
#: What a process asks of the service: a page of the EHR's FHIR server, one of the terminology server, overrides and flags, stored facts.
What = Literal["fhir", "terminology", "latest", "facts"]


class Start(Struct, frozen=True):
    """To the template of all processes: what was imported, and how long the terminology server may take (None: there is none)."""

    products: dict[tuple[str, str], Product]
    release: str
    terminology_seconds: float | None
    work_seconds: float
    log_level: str
    log_style: str


class Knows(Struct, frozen=True):
    """To a process: a site, before its first call."""

    site: Site


class Begin(Struct, frozen=True):
    """To a process: a call."""

    kind: Kind
    site: str
    body: bytes
    now: datetime
    service_id: str = ""
    hook: str = ""
    #: What the FHIR server has answered already, by query.
    pages: dict[str, bytes] = {}
    #: Of ``$clozapine-check``: ``service.operation.question.Asked``.
    patient: str = ""
    strict: bool = False


class Reply(Struct, frozen=True):
    """To a process: what it asked for. ``fault`` says why it is not there: ``refused`` or ``failed``, with the reason as value."""

    ask: int
    value: Any
    fault: Literal["", "refused", "failed"] = ""


class Heard(Struct, frozen=True):
    """From a process: the call was read. The request holds no more than a failure must know of it."""

    request: HookRequest


class Ask(Struct, frozen=True):
    """From a process. The number comes back with the reply."""

    ask: int
    what: What
    args: tuple[Any, ...]


class Latest(Struct, frozen=True):
    """Overrides and flags of one patient (``service.hooks.recalled.Latest``)."""

    key: str
    all_silences: tuple[Silence, ...]
    all_flags: tuple[ClinicianFlag, ...]

    def patient_key(self, site: str, patient_id: str) -> str:
        """The keyed hash of the patient."""
        return self.key

    def silences(self, patient_key: str) -> tuple[Silence, ...]:
        """Overrides in force."""
        return self.all_silences

    @property
    def silent_patients(self) -> bool:
        """Whether any is in force."""
        return bool(self.all_silences)

    def flags(self, site: str, patient_id: str) -> tuple[ClinicianFlag, ...]:
        """What clinicians stated."""
        return self.all_flags


class Refusal(Struct, frozen=True):
    """A ProtocolError."""

    status: int
    message: str
    code: str
    expression: Any
    headers: dict[str, str]


class Done(Struct, frozen=True, kw_only=True):
    """From a process: the end of the call."""

    body: bytes = b""
    #: Pickled ``Kept``.
    kept: bytes = b""
    #: Rules that failed: (rule, exception).
    faults: list[tuple[str, str]] = []
    foreign_servers: int = 0
    refusal: Refusal | None = None
    #: Name of the exception that nobody expected.
    exception: str = ""


#: From the template, of a process: its id and how it ended (a signal as a negative number), or that it began. Of id 0: the template can
#: begin processes.
NOTICE = struct.Struct("<qi")
BEGUN = 1 << 16


def packed(message: Struct) -> bytes:
    """A message as it is sent."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(_LENGTH, "big") + content


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message. Raises asyncio.IncompleteReadError at the end."""
    length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    return pickle.loads(await reader.readexactly(length))  # noqa: S301 - from this program only
