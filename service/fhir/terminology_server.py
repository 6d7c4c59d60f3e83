"""Medication codes that nothing else recognises, asked of a FHIR terminology server: ``CodeSystem/$lookup``, then ``$subsumes``.

Off unless a site configures one. It can neither fail a call nor delay it beyond its deadline: what it does not answer in time
stays unrecognised, and the card says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from msgspec import Raw

from service.alerts.facts.record_text import NAME, VALUE, to_read, to_show
from service.alerts.knowledge.drug_names import drugs_by_name
from service.alerts.knowledge.products import Product, codes_of, learn, product_by_code
from service.fhir.client import FetchFailed, Server
from service.fhir.decode import read_value
from service.fhir.gather import Gathered
from service.fhir.medication import DRUG_SYSTEMS, forget_identified
from service.fhir.resources import CodeableConcept, Resource

log = logging.getLogger("service.terminology")
_CLOZAPINE = "clozapine"
#: Codes remembered at most, and for how long an answer, or the lack of one, is believed.
_CAPACITY = 10_000
_KNOWN_FOR = timedelta(days=1)
_UNKNOWN_FOR = timedelta(hours=1)
#: Codes asked for in one call at most.
_AT_ONCE = 10

Coded = tuple[str, str]


class TerminologyServer:
    """Asks about codes and remembers the answers.

    Args:
        server: the terminology server.
        clock: the moment.
        deadline_seconds: for all questions of one call together.
    """

    def __init__(self, server: Server, clock: Callable[[], datetime], deadline_seconds: float) -> None:
        self._server = server
        self._clock = clock
        self._deadline = deadline_seconds
        self._believed_until: dict[Coded, datetime] = {}

    async def learn(self, gathered: Gathered, orders: Raw | None) -> None:
        """Ask about every code of a call that nothing recognises; what is learned holds for later calls too."""
        try:
            await self._learn(gathered, orders)
        except Exception as error:  # without an answer the codes stay unrecognised, and a card says so
            log.error("asking the terminology server failed: %s", type(error).__name__)

    async def _learn(self, gathered: Gathered, orders: Raw | None) -> None:
        resources: list[Resource] = [r for data in gathered.sources.values() for r in data.resources]
        resources += gathered.products
        if orders is not None and len(orders):
            resources += read_value(orders, "draftOrders").resources
        now = self._clock()
        asked = [c for c in _unrecognised(resources) if self._believed_until.get(c, now) <= now][:_AT_ONCE]
        if not asked:
            return
        try:
            async with asyncio.timeout(self._deadline):
                found = await asyncio.gather(*(self._ask(*coded) for coded in asked), return_exceptions=True)
        except TimeoutError:
            log.warning("the terminology server did not answer in time")
            return
        learned = False
        for coded, answer in zip(asked, found, strict=True):
            if isinstance(answer, BaseException):
                continue  # asked again at the next call
            self._remember(coded, now + (_KNOWN_FOR if answer is not None else _UNKNOWN_FOR))
            if answer is not None:
                learn(*coded, answer)
                learned = True
        if learned:
            forget_identified()

    def _remember(self, coded: Coded, until: datetime) -> None:
        if len(self._believed_until) >= _CAPACITY:
            self._believed_until.pop(next(iter(self._believed_until)))
        self._believed_until[coded] = until

    async def _ask(self, system: str, code: str) -> Product | None:
        """What a code stands for; None when the server knows it as nothing of ours. Raises FetchFailed."""
        display = ""
        try:
            display = await self._parameter("$lookup", {"system": system, "code": code}, "display")
        except FetchFailed as why:
            if "404" not in str(why) and "400" not in str(why):
                raise
        drugs = drugs_by_name(to_read(display, NAME) or "")
        if drugs:
            return Product(drugs, to_show(display, NAME), named=True)
        for ancestor in codes_of(_CLOZAPINE, system):
            outcome = await self._parameter(
                "$subsumes", {"system": system, "codeA": ancestor, "codeB": code}, "outcome"
            )
            if outcome in ("subsumes", "equivalent"):
                label = to_show(display, NAME) or f"clozapine ({to_show(code)})"
                return Product((_CLOZAPINE,), label, named=bool(display))
        return None

    async def _parameter(self, operation: str, query: dict[str, str], name: str) -> str:
        try:
            answer: Any = orjson.loads(await self._server.get(f"CodeSystem/{operation}?{urlencode(query)}"))
        except orjson.JSONDecodeError:
            raise FetchFailed("the terminology server's answer is not JSON") from None
        parameters = answer.get("parameter") if isinstance(answer, dict) else None
        for parameter in parameters if isinstance(parameters, list) else []:
            if isinstance(parameter, dict) and parameter.get("name") == name:
                return str(parameter.get("valueString") or parameter.get("valueCode") or "")
        return ""


def _unrecognised(resources: Iterable[Resource]) -> list[Coded]:
    """Codes of medications in systems that name products, which neither code nor name recognises."""
    found: dict[Coded, None] = {}
    for resource in resources:
        concept = getattr(resource, "medicationCodeableConcept", None)
        if not isinstance(concept, CodeableConcept):
            concept = getattr(resource, "code", None) if type(resource).__name__ == "Medication" else None
        if not isinstance(concept, CodeableConcept):
            continue
        texts = [
            to_read(text, NAME) for text in (concept.text, *(c.display for c in concept.coding or ())) if text
        ]
        if any(drugs_by_name(text) for text in texts if text):
            continue
        codings = [
            (c.system, c.code)
            for c in concept.coding or ()
            if c.system in DRUG_SYSTEMS and c.code and len(c.code) <= VALUE
        ]
        if any(product_by_code(system, code) for system, code in codings if system and code):
            continue
        found |= dict.fromkeys((system, code) for system, code in codings if system and code)
    return list(found)
