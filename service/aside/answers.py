"""What a judging process may ask of the service: pages of the site's own FHIR servers, and what the registry knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.aside.messages import Ask, Latest, Reply
from service.fhir.client import FetchFailed, Refused, Server, allowed_server
from service.hooks.recalled import Asking
from service.hooks.recalled import Latest as Registry
from service.options.site import Site


class Answers:
    """Answers for the site of a call, whatever the process says whose it is.

    Args:
        server_of: a FHIR server by site, base URL and token.
        facts: what the registry holds of a patient.
        latest: overrides and flags.
        terminology: the terminology server.
    """

    def __init__(
        self,
        server_of: Callable[[str, str, str], Server],
        facts: Asking,
        latest: Registry,
        terminology: Server | None,
    ) -> None:
        self._server_of = server_of
        self._facts = facts
        self._latest = latest
        self._terminology = terminology

    async def reply(self, ask: Ask, site: Site) -> Reply:
        """The answer, or why there is none."""
        try:
            return Reply(ask.ask, await self._answer(ask, site))
        except Refused as why:
            return Reply(ask.ask, str(why), "refused")
        except FetchFailed as why:
            return Reply(ask.ask, str(why), "failed")
        except Exception as error:
            return Reply(ask.ask, f"this service failed on it ({type(error).__name__})", "failed")

    async def _answer(self, ask: Ask, site: Site) -> Any:
        if ask.what == "terminology":
            (query,) = ask.args
            if self._terminology is None:
                raise FetchFailed("there is no terminology server")
            return await self._terminology.get(query)
        if ask.what == "fhir":
            base_url, token, query = ask.args
            if allowed_server(base_url, site.options.fhir_servers) is None:
                raise FetchFailed("the link leads to another server")
            return await self._server_of(site.name, base_url, token).get(query)
        (patient_id,) = ask.args
        if ask.what == "facts":
            return await self._facts(site.name, patient_id)
        key = self._latest.patient_key(site.name, patient_id)
        return Latest(
            key,
            self._latest.silences(key) if self._latest.silent_patients else (),
            self._latest.flags(site.name, patient_id),
        )
