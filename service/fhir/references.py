"""The one reading of FHIR references (R4 references.html, bundle.html "Resolving references in Bundles"): what a reference points to, and whether it is here.

A reference is relative (``Medication/7``), absolute (``https://ehr.example/fhir/Medication/7``), a URN (``urn:uuid:…``, ``urn:oid:…``) or
the name of a contained resource (``#m``); each may name a version (``…/_history/3``), which is the same resource. ``Medication/7`` of one
server is not ``Medication/7`` of another: two hospitals that number their records both have a patient 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from msgspec import Struct

from service.alerts.facts.remembered_texts import remembering

Form = Literal["relative", "absolute", "urn", "contained", ""]
T = TypeVar("T")

#: R4 datatypes.html, "id": nothing else is ever put into a URL.
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
#: The form nearly every reference has.
_PLAIN = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9\-.]{1,64}")
_VERSION = "/_history/"
#: A longer one is none (R4 url: no server takes it).
_LONGEST = 2000
_PORTS = {"http": ":80", "https": ":443"}


def is_id(text: str) -> bool:
    """True for a FHIR id, which may be put into a URL."""
    return _ID.fullmatch(text) is not None and text not in (".", "..")


class Target(Struct, frozen=True, gc=False):
    """What a reference points to.

    ``text`` is the reference without its version, so that two references to one resource are equal; ``type`` and ``id`` are empty
    where it does not name them as FHIR does; ``base`` is the server of an absolute one, as :func:`base_of` writes it.
    """

    form: Form = ""
    type: str = ""
    id: str = ""
    base: str = ""
    text: str = ""

    @property
    def local(self) -> str:
        """``Type/id``; empty where they are not known."""
        return f"{self.type}/{self.id}" if self.id and self.type else ""


_NOTHING = Target()


def read_reference(text: str | None) -> Target:
    """What a reference points to; a form of its own ("") for what is no FHIR reference."""
    text = (text or "").strip()
    if not text or len(text) > _LONGEST:
        return _NOTHING
    if text.startswith("#"):
        return Target("contained", id=text[1:], text=text)
    plain = text.partition(_VERSION)[0]
    lowered = plain[:9].lower()
    if lowered.startswith(("urn:uuid:", "urn:oid:")):
        prefix = lowered if lowered == "urn:uuid:" else "urn:oid:"
        name = plain[len(prefix) :]
        return Target("urn", id=name, text=f"{prefix}{name.lower() if prefix == 'urn:uuid:' else name}")
    if "://" in plain:
        return _absolute(plain)
    type_name, _, identifier = plain.removeprefix("/").partition("/")
    # The id may break FHIR's rule and still be the one its resource has; into a URL it is not put (is_id).
    if _TYPE.fullmatch(type_name) and identifier and "/" not in identifier:
        return Target("relative", type_name, identifier, text=f"{type_name}/{identifier}")
    return Target(text=plain)


def _absolute(plain: str) -> Target:
    root, _, identifier = plain.rstrip("/").rpartition("/")
    before, _, type_name = root.rpartition("/")
    base = base_of(before)
    if base and identifier and _TYPE.fullmatch(type_name):
        return Target("absolute", type_name, identifier, base, f"{base}/{type_name}/{identifier}")
    return Target("absolute", text=plain)


@remembering(512, 500)
def base_of(url: str) -> str:
    """A server's base URL as it is compared: host and path. Empty when it is no URL of a server.

    The scheme is left out: behind a proxy that ends TLS a server calls itself ``http`` and is the same.
    """
    if len(url) > _LONGEST:
        return ""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return ""
    if parts.scheme not in _PORTS or not parts.netloc or parts.query or parts.fragment:
        return ""
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_PORTS[parts.scheme])
    return f"{host}{parts.path.rstrip('/')}"


def base_of_resource(url: str | None) -> str:
    """The server in a Bundle entry's ``fullUrl``; empty for a URN or none."""
    return read_reference(url).base if url and "://" in url else ""


class Home(Struct, gc=False):
    """Which servers are the EHR's own, and what the entries of its Bundles are called. Decides what a reference means here.

    Args:
        own: bases (:func:`base_of`) that are the EHR's own: the call's ``fhirServer``, what a searchset's ``self`` link says, the
            ``fullUrl`` of the patient in context. Empty: nobody says.
        seen: bases in the ``fullUrl`` of any entry.
        names: ``fullUrl`` that is a URN -> ``Type/id`` of the entry.
    """

    own: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    names: dict[str, str] = {}
    #: Entries of another server than the EHR's are among the records.
    mixed: bool = False

    def __post_init__(self) -> None:
        # Where nobody says, the one server all entries are on is the EHR's.
        if not self.own and len(self.seen) == 1:
            self.own = self.seen
        self.mixed = len(self.seen) > 1 and bool(self.own) and not self.seen <= self.own

    def elsewhere(self, full_url: str | None) -> str:
        """Base of the other server that a record lives on; empty for one of the EHR itself, and where nobody can tell.

        A server behind a proxy writes its inner address into every ``fullUrl``: if all are on one base, that one is the EHR's own.
        """
        if not full_url or not self.mixed:
            return ""
        base = base_of_resource(full_url)
        return "" if base in self.own else base

    def key(self, reference: str | None, *, holder: str | None = None, same: str = "") -> str:
        """What a reference is called here: ``Type/id`` for a resource of the EHR, else the whole URL or URN; empty for none.

        Args:
            reference: as sent.
            holder: ``fullUrl`` of the record that holds it: a relative reference is one on the record's own server.
            same: a base known to be the record's own for another reason (its subject was believed).
        """
        if reference and not self.mixed and _PLAIN.fullmatch(reference):
            return reference
        target = read_reference(reference)
        if target.form == "relative":
            base = self.elsewhere(holder)
            return f"{base}/{target.local}" if base else target.local
        if target.form == "absolute":
            return target.local if target.base and target.base in (*self.own, same) else target.text
        if target.form == "urn":
            return self.names.get(target.text, target.text)
        return ""

    def find(
        self, table: Mapping[str, T], reference: str | None, *, holder: str | None = None, same: str = ""
    ) -> T | None:
        """The resource that a reference points to, in a table by :meth:`keys_of`; None when it was not sent."""
        target = read_reference(reference)
        if target.form == "relative" and holder and (base := base_of_resource(holder)):
            beside = table.get(f"{base}/{target.local}")
            if beside is not None:
                return beside
        found = table.get(self.key(reference, holder=holder, same=same))
        # An absolute reference is met by the entry of that very address, whoever's it is.
        return table.get(target.text) if found is None and target.form in ("absolute", "urn") else found

    def keys_of(self, type_name: str, identifier: str | None, full_url: str | None) -> tuple[str, ...]:
        """Everything a resource that was sent is called here. One of another server has no short name: it never stands in for ours."""
        entry = read_reference(full_url)
        local = f"{type_name}/{identifier}"
        if entry.form == "absolute":
            return (local, entry.text) if entry.base in self.own else (entry.text,)
        if entry.form == "urn":
            return local, entry.text, f"urn:uuid:{identifier}".lower()
        return local, f"urn:uuid:{identifier}".lower()
