"""What every conformance resource of the service says of itself: its address, version, state and day."""

from __future__ import annotations

from datetime import date
from importlib.metadata import version
from typing import Any

from msgspec import Struct

from service.operation.narrative import narrative
from service.options.options import Links

PUBLISHER = "Clozapine safety service"


class Published(Struct, frozen=True):
    """How resources are published.

    Args:
        links: their addresses.
        day: since when they are so.
    """

    links: Links
    day: date

    def url(self, type_name: str, identifier: str) -> str:
        """The canonical address, at which this service answers with the resource."""
        return f"{self.links.fhir_url}/{type_name}/{identifier}"

    def head(self, type_name: str, identifier: str) -> dict[str, Any]:
        """The first elements of a resource."""
        url = self.url(type_name, identifier)
        return {
            "resourceType": type_name,
            "id": identifier,
            "text": narrative(f"{type_name} {identifier} of the {PUBLISHER.lower()}."),
            "url": url,
            "version": version("clozapine-cds"),
            "status": "active",
            "experimental": False,
            "date": self.day.isoformat(),
            "publisher": PUBLISHER,
        }
