"""Reading from the EHR's FHIR server: allow-listed, without redirects, with the call's own token (cds-hooks checklist R3, T5)."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

import httpx
from msgspec import Struct

from service.fhir.bounded import ACCEPTED, BodyRefused, body

#: Servers and what stands before them refuse longer addresses; links to the next page are far shorter.
_MAX_ADDRESS = 8_000


class FetchFailed(Exception):
    """A query that could not be answered; the message says why without any content of the answer."""


class LeftAlone(httpx.TransportError):
    """The server was not asked: it let call after call wait in vain and is left alone for a moment."""


class Refused(FetchFailed):
    """The server understood who asks and would not run the query as it is written: a parameter that it does not have."""


#: How servers say so (FHIR R4, RESTful API, "Handling Errors").
_REFUSALS = frozenset({400, 422, 501})


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
            raise FetchFailed("the link is not an address")
        try:
            url = urljoin(base, query)
            here, there = urlsplit(base), urlsplit(url)
        except ValueError:
            raise FetchFailed("the link is not an address") from None
        inside = there.path.startswith(here.path) or there.path == here.path.rstrip("/")
        if (
            (there.scheme, there.netloc) != (here.scheme, here.netloc)
            or not inside
            or ".." in unquote(there.path)
        ):
            raise FetchFailed("the link leads to another server")
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
                    raise refused(f"the FHIR server answered {response.status_code}")
                return await body(response)
        except BodyRefused as why:
            raise FetchFailed(f"the FHIR server's answer {why}") from None
        except LeftAlone:
            raise FetchFailed(
                "the FHIR server has kept call after call waiting and was not asked; it will be again within seconds"
            ) from None
        except httpx.InvalidURL:
            raise FetchFailed("the link is not an address") from None
        except httpx.HTTPError as error:
            raise FetchFailed(f"the FHIR server could not be reached ({type(error).__name__})") from None
        except ValueError as error:  # a token that no header can hold, an answer that breaks the protocol
            raise FetchFailed(f"the FHIR server could not be asked ({type(error).__name__})") from None


def allowed_server(url: str, allow_list: tuple[str, ...]) -> str | None:
    """The allow-listed base URL that ``url`` names, or None: nothing is ever sent to another."""
    wanted = url.rstrip("/")
    return next((known for known in allow_list if known.rstrip("/") == wanted), None)
