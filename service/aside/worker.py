"""A judging process: one call at a time. It asks the service for all that is not in the call; it opens no file, no connection and no database of its own."""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import socket
from typing import Any

import msgspec
from msgspec import Struct

from cds_hooks import HOOKS, HookRequest, ProtocolError, Response
from cds_hooks.card import encode
from cds_hooks.context import NO_RESOURCE
from cds_hooks.request import envelope_reader, read_request
from service.aside.messages import (
    WINDOW,
    Ask,
    Begin,
    Done,
    Heard,
    Knows,
    Latest,
    Refusal,
    Reply,
    Start,
    What,
    packed,
    receive,
)
from service.fhir.client import FetchFailed, Refused
from service.fhir.decode import Value
from service.fhir.terminology_server import TerminologyServer
from service.hooks.pipeline import Pipeline
from service.hooks.recalled import Known, Recalled
from service.hooks.unchecked import names_unsent_product
from service.operation.endpoint import check
from service.operation.question import Asked
from service.options.site import Site

log = logging.getLogger("service.aside")

#: Bytes of all pages that a call reads: more than any chart, and little enough to be held.
_MOST_FETCHED = 25_000_000


class _Noted:
    """What is counted while a call is judged (``service.hooks.kept.Noting``)."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, str]] = []
        self.foreign_servers = 0

    def rule_fault(self, rule: str, fault: Exception) -> None:
        self.faults.append((rule, type(fault).__name__))

    def foreign_server(self) -> None:
        self.foreign_servers += 1


class _Server(Struct, frozen=True):
    """A FHIR server that the service reads for this process."""

    asking: _Asking
    base_url: str
    token: str
    #: What it has answered already, by query.
    pages: dict[str, bytes]

    async def get(self, query: str) -> bytes:
        page: bytes | None = self.pages.get(query)
        if page is None:
            page = await self.asking("fhir", self.base_url, self.token, query)
        self.asking.fetched += len(page)
        if self.asking.fetched > _MOST_FETCHED:
            raise FetchFailed("the FHIR server has more than is read of one patient")
        return page


class _Asking:
    """Asks the service on behalf of one call."""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        #: Bytes of pages.
        self.fetched = 0

    async def __call__(self, what: What, *args: Any) -> Any:
        return await self._worker.ask(what, args)


class _Terminology:
    """The terminology server, which the service asks for this process."""

    base_url = ""

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker

    async def get(self, query: str) -> bytes:
        page: bytes = await self._worker.ask("terminology", (query,))
        return page


class _Worker:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: Start) -> None:
        self._reader = reader
        self._writer = writer
        self._sites: dict[str, Site] = {}
        self._call: asyncio.Task[None] | None = None
        self._asks: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._seconds = start.work_seconds
        self._now: Any = None
        self._terminology: TerminologyServer | None = None
        if start.terminology_seconds is not None:
            self._terminology = TerminologyServer(
                _Terminology(self), lambda: self._now, start.terminology_seconds
            )
        self._read_envelope = envelope_reader(Value | None)

    async def run(self) -> None:
        """Judge until the service is gone."""
        while True:
            match await receive(self._reader):
                case Begin() as call:
                    self._now = call.now
                    self._call = asyncio.create_task(self._take(call, self._sites[call.site]))
                case Reply() as reply:
                    self._replied(reply)
                case Knows(site=site):
                    self._sites[site.name] = site

    async def ask(self, what: What, args: tuple[Any, ...]) -> Any:
        """Ask the service. Raises FetchFailed."""
        self._asked += 1
        number = self._asked
        answer = self._asks[number] = asyncio.get_running_loop().create_future()
        self._send(Ask(number, what, args))
        try:
            return await answer
        finally:
            del self._asks[number]

    def _replied(self, reply: Reply) -> None:
        waiting = self._asks.get(reply.ask)
        if waiting is None or waiting.done():
            return
        if reply.fault:
            waiting.set_exception((Refused if reply.fault == "refused" else FetchFailed)(reply.value))
        else:
            waiting.set_result(reply.value)

    async def _take(self, call: Begin, site: Site) -> None:
        noted = _Noted()
        # Processor time, whatever of it is waited for. The signal has no handler: one would wait until a pattern or a decoder gives the
        # interpreter back.
        signal.setitimer(signal.ITIMER_PROF, self._seconds)
        try:
            body, kept = await (self._hook if call.kind == "hook" else self._check)(call, site, noted)
            done = Done(body=body, kept=kept)
        except ProtocolError as error:
            refusal = Refusal(error.status, error.message, error.code, error.expression, error.headers)
            done = Done(refusal=refusal)
        except Exception as error:
            log.error("a call failed: %s", type(error).__name__)
            log.debug("call to %s", call.service_id or call.kind, exc_info=error)
            done = Done(exception=type(error).__name__)
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._send(msgspec.structs.replace(done, faults=noted.faults, foreign_servers=noted.foreign_servers))

    async def _hook(self, call: Begin, site: Site, noted: _Noted) -> tuple[bytes, bytes]:
        request = read_request(call.body, call.service_id, HOOKS[call.hook], site, self._read_envelope)
        self._send(Heard(_slim(request)))
        asking = _Asking(self)
        latest: Latest = await asking("latest", request.context.patient_id)

        async def facts(_: str, patient_id: str) -> Known | None:
            known: Known | None = await asking("facts", patient_id)
            return known

        pipeline = Pipeline(
            site,
            clock=lambda: call.now,
            server_of=lambda _, base_url, token: _Server(asking, base_url, token, call.pages),
            noting=noted,
            recalled=Recalled(facts, latest),
            terminology=self._terminology,
        )
        judged = await pipeline.judge(request)
        return encode(Response(judged.cards)), pickle.dumps(judged.keep(), pickle.HIGHEST_PROTOCOL)

    async def _check(self, call: Begin, site: Site, noted: _Noted) -> tuple[bytes, bytes]:
        asked = Asked(call.body, call.patient, call.strict)
        checked = check(site, asked, call.now, noted)
        return checked.body, pickle.dumps(checked.kept(), pickle.HIGHEST_PROTOCOL)

    def _send(self, message: Struct) -> None:
        self._writer.write(packed(message))


def _slim(request: HookRequest) -> HookRequest:
    """What a failure later on must know of a call: whose it is, and whether an order names a product that was not sent."""
    unsent = names_unsent_product(request)
    return msgspec.structs.replace(
        request,
        context=msgspec.structs.replace(
            request.context, selections=(), orders=request.context.orders if unsent else NO_RESOURCE
        ),
        prefetch={},
        fhir_authorization=None,
        extension=NO_RESOURCE,
        body=b"",
        principal=None,
    )


async def _main(connection: socket.socket, start: Start) -> None:
    reader, writer = await asyncio.open_connection(sock=connection, limit=WINDOW)
    try:
        await _Worker(reader, writer, start).run()
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # the service is gone


def work(connection: int, start: Start) -> None:
    """Judge until the service is gone.

    Args:
        connection: file number of the socket to the service.
        start: what the service said at first.
    """
    asyncio.run(_main(socket.socket(fileno=connection), start))
