"""Reading from the EHR's FHIR server: allow-listed, without redirects, with the call's own token (cds-hooks checklist R3, T5)."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote, urljoin, urlsplit

import httpx
from msgspec import Struct

from service.alerts.facts.reason import Reason, because
from service.alerts.say.language import english
from service.fhir.bounded import ACCEPTED, BodyRefused, body

#: Servers and what stands before them refuse longer addresses; links to the next page are far shorter.
_MAX_ADDRESS = 8_000


class FetchFailed(Exception):
    """A query that could not be answered; it says why without any content of the answer.

    Args:
        why: in words for operators, or as a reason where a card may say it.
    """

    def __init__(self, why: Reason | str) -> None:
        super().__init__(why)
        self.reason = why if isinstance(why, Reason) else because("server.failed")

    def __str__(self) -> str:
        why = self.args[0]
        return english().reason(why) if isinstance(why, Reason) else str(why)


class LeftAlone(httpx.TransportError):
    """The server was not asked: it let call after call wait in vain and is left alone for a moment."""


class Refused(FetchFailed):
    """The server understood who asks and would not run the query as it is written: a parameter that it does not have."""


#: How servers say so (FHIR R4, RESTful API, "Handling Errors").
_REFUSALS = frozenset({400, 422, 501})


class Server(Protocol):
    """A FHIR server that can be read."""

    @property
    def base_url(self) -> str:
        """Where it is."""
        ...

    async def get(self, query: str) -> bytes:
        """The body of one read or one page of a search. Raises FetchFailed; :class:`Refused` for a query it would not run."""
        ...


class FhirServer(Struct, frozen=True):
    """One FHIR server for the time of one call. Its text form never shows the token."""

    base_url: str
    client: httpx.AsyncClient
    token: str = ""

    def __repr__(self) -> str:
        return f"FhirServer({self.base_url!r})"

    def address(self, query: str) -> str:
        """Absolute URL of a query (``Observation?…``) or of a link the server sent. Raises FetchFailed for foreign addresses."""
        base = self.base_url.rstrip("/") + "/"
        if len(query) > _MAX_ADDRESS or not query.isprintable():
            raise FetchFailed(because("server.no-address"))
        try:
            url = urljoin(base, query)
            here, there = urlsplit(base), urlsplit(url)
        except ValueError:
            raise FetchFailed(because("server.no-address")) from None
        inside = there.path.startswith(here.path) or there.path == here.path.rstrip("/")
        if (
            (there.scheme, there.netloc) != (here.scheme, here.netloc)
            or not inside
            or ".." in unquote(there.path)
        ):
            raise FetchFailed(because("server.elsewhere"))
        return url

    async def get(self, query: str) -> bytes:
        """The body of one read or one page of a search. Raises FetchFailed; :class:`Refused` for a query the server would not run."""
        headers = {
            "Accept": "application/fhir+json",
            **ACCEPTED,
            # HAPI FHIR, and caches on the way, answer the same search again from memory for a minute: a count that has just come
            # in would not be seen.
            "Cache-Control": "no-cache",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            async with self.client.stream("GET", self.address(query), headers=headers) as response:
                if response.status_code != 200:
                    refused = Refused if response.status_code in _REFUSALS else FetchFailed
                    raise refused(because("server.answered", status=response.status_code))
                return await body(response)
        except BodyRefused as why:
            raise FetchFailed(why.reason) from None
        except LeftAlone:
            raise FetchFailed(because("server.left-alone")) from None
        except httpx.InvalidURL:
            raise FetchFailed(because("server.no-address")) from None
        except httpx.HTTPError as error:
            raise FetchFailed(because("server.unreachable", error=type(error).__name__)) from None
        except ValueError as error:  # a token that no header can hold, an answer that breaks the protocol
            raise FetchFailed(because("server.unasked", error=type(error).__name__)) from None


def allowed_server(url: str, allow_list: tuple[str, ...]) -> str | None:
    """The allow-listed base URL that ``url`` names, or None: nothing is ever sent to another."""
    wanted = url.rstrip("/")
    return next((known for known in allow_list if known.rstrip("/") == wanted), None)
