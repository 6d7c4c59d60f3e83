"""The service's side: processes that judge, started before they are needed, and again when one ended."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from cds_hooks import Heard as OnHeard
from cds_hooks import HookRequest, ProtocolError
from service.alerts.knowledge.products import imported
from service.aside.messages import (
    BEGUN,
    NOTICE,
    Ask,
    Begin,
    Done,
    Drop,
    Heard,
    Knows,
    Latest,
    Reply,
    Start,
    packed,
    receive,
)
from service.aside.share import MARK_BYTES, marked
from service.fhir.client import FetchFailed, Refused, Server, allowed_server
from service.hooks.in_place import InPlace
from service.hooks.kept import Keeper
from service.hooks.recalled import Asking
from service.hooks.recalled import Latest as Registry
from service.operation.endpoint import Checked
from service.ops.metrics import Metrics
from service.options.site import Site

log = logging.getLogger("service.aside")

IN_PLACE = InPlace()
#: Calls aboard of one process: while one waits for its EHR, others are judged. A body of 5 MB may need 100 MB while it is.
_ABOARD = 8
#: A call whose process ended, not by its doing, is judged once more.
_TRIES = 2
#: After a process that could not start; doubled up to the last.
_AGAIN_SECONDS = (0.5, 30.0)
#: Of a process whose template is gone, nobody knows how it ended.
_UNKNOWN = -(1 << 16)


class OverShare(ProtocolError):
    """503: the call was ended because of its work."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            503,
            f"The call took more than {seconds:g} s of work and was ended; nothing was checked. Send fewer resources.",
            code="too-costly",
        )


class JudgingFailed(Exception):
    """A judging process failed on a call."""


class _Ended(Exception):
    """The process ended before the call did; ``by_call``: working on it."""

    def __init__(self, by_call: bool, code: int) -> None:
        super().__init__(by_call, code)
        self.by_call = by_call
        self.code = code


class _Call:
    """A call aboard of a process."""

    def __init__(self, begin: Begin, site: Site, on_heard: OnHeard) -> None:
        self.begin = begin
        self.site = site
        self.on_heard = on_heard
        self.done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self.asks: set[asyncio.Task[None]] = set()


class _Template:
    """The template that processes are split off from (``service.aside.template``)."""

    def __init__(self, start: bytes) -> None:
        self._control, theirs = socket.socketpair()
        # What configures the service, and may be secret, is none of its business.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CLOZAPINE_CDS_")}
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, "-m", "service.aside.template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment,
            )
        self._control.setblocking(False)
        self._start = start
        self._beginning: deque[asyncio.Future[int]] = deque()
        #: How processes ended that nobody has asked of, and who asks.
        self._ended: dict[int, asyncio.Future[int]] = {}
        self.alive = False

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Listen until it ends."""
        loop = asyncio.get_running_loop()
        waiting = bytearray()
        try:
            await loop.sock_sendall(self._control, self._start)
            while part := await loop.sock_recv(self._control, 4096):
                waiting += part
                while len(waiting) >= NOTICE.size:
                    pid, code = NOTICE.unpack_from(waiting)
                    self._noticed(pid, code, on_ready)
                    del waiting[: NOTICE.size]
        except ConnectionError:
            return
        finally:
            self.alive = False
            self._control.close()
            if self._popen.poll() is None:
                self._popen.kill()
            await asyncio.to_thread(self._popen.wait)
            for waits in (*self._beginning, *self._ended.values()):
                if not waits.done():
                    waits.set_result(_UNKNOWN)

    def _noticed(self, pid: int, code: int, on_ready: Callable[[], None]) -> None:
        if pid == 0:
            self.alive = True
            on_ready()
        elif code == BEGUN:
            self._ended[pid] = asyncio.get_running_loop().create_future()
            self._beginning.popleft().set_result(pid)
        else:
            self._ended[pid].set_result(code)

    async def begin(self, *files: int) -> int:
        """Split a process off that has these files; gives its id. Raises OSError."""
        begun = asyncio.get_running_loop().create_future()
        self._beginning.append(begun)
        socket.send_fds(self._control, [b"f"], files)
        pid: int = await begun
        if pid == _UNKNOWN:
            raise ChildProcessError("the template ended")
        return pid

    async def ended(self, pid: int) -> int:
        """How a process ended (a signal as a negative number), once it has."""
        code = await self._ended[pid]
        del self._ended[pid]
        return code

    def kill(self, pid: int) -> None:
        """End a process, whatever it does. It is no other's id: the template keeps an ended process until it has told of it."""
        if pid in self._ended and not self._ended[pid].done():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class _Process:
    """One judging process."""

    def __init__(self, template: _Template, answers: Answers) -> None:
        self._template = template
        self._answers = answers
        self._sites: dict[str, Site] = {}
        self.calls: dict[int, _Call] = {}
        self.ready = False
        self._pid = 0
        self._mark = mmap.mmap(-1, MARK_BYTES)
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Listen until the process ends; gives how it ended. Raises OSError when it cannot begin."""
        with tempfile.TemporaryFile() as marks:
            marks.truncate(mmap.PAGESIZE)
            self._mark = mmap.mmap(marks.fileno(), mmap.PAGESIZE)
            ours, theirs = socket.socketpair()
            with theirs:
                self._pid = await self._template.begin(theirs.fileno(), marks.fileno())
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self.ready = True
        on_ready()
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._heard(await receive(reader))
        finally:
            self.ready = False
            self._writer.close()
            guilty = marked(self._mark)
            self._template.kill(self._pid)
            code = await self._template.ended(self._pid)
            for number, call in self.calls.items():
                if not call.done.done():
                    call.done.set_exception(_Ended(number == guilty, code))
        return code

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._template.kill(self._pid)

    async def judge(self, call: _Call) -> Done:
        """Judge one call. Raises _Ended. Cancelled, the work ends."""
        number = call.begin.call
        self.calls[number] = call
        try:
            if self._sites.get(call.site.name) is not call.site:
                self._sites[call.site.name] = call.site
                self._send(Knows(_without_secrets(call.site)))
            self._send(call.begin)
            return await call.done
        except asyncio.CancelledError:
            if self.ready and marked(self._mark) == number:
                self.kill()  # it works for nobody
            elif self.ready:
                self._send(Drop(number))
            raise
        finally:
            del self.calls[number]
            for ask in call.asks:
                ask.cancel()

    def _heard(self, message: Any) -> None:
        match message:
            case Heard(call=number, request=request):
                if (call := self.calls.get(number)) is not None:
                    call.on_heard(request)
            case Ask(call=number) as ask:
                call = self.calls.get(number)
                if call is not None or ask.what == "terminology":
                    task = asyncio.create_task(self._answer(ask, call.site if call is not None else None))
                    holders = call.asks if call is not None else self._answers.asks
                    holders.add(task)
                    task.add_done_callback(holders.discard)
            case Done(call=number) as done:
                call = self.calls.get(number)
                if call is not None and not call.done.done():
                    call.done.set_result(done)

    async def _answer(self, ask: Ask, site: Site | None) -> None:
        try:
            reply = Reply(ask.ask, await self._answers.answer(ask, site))
        except Refused as why:
            reply = Reply(ask.ask, str(why), "refused")
        except FetchFailed as why:
            reply = Reply(ask.ask, str(why), "failed")
        except Exception as error:
            reply = Reply(ask.ask, f"this service failed on it ({type(error).__name__})", "failed")
        if self.ready:
            self._send(reply)

    def _send(self, message: Struct) -> None:
        assert self._writer is not None
        self._writer.write(packed(message))


class Answers:
    """What judging processes may ask: pages of the site's own FHIR servers, and what the registry knows.

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
        self.asks: set[asyncio.Task[None]] = set()

    async def answer(self, ask: Ask, site: Site | None) -> Any:
        """The answer. Raises FetchFailed."""
        if ask.what == "terminology":
            (query,) = ask.args
            if self._terminology is None:
                raise FetchFailed("there is no terminology server")
            return await self._terminology.get(query)
        assert site is not None, "the other questions belong to a call"
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


class Aside:
    """Judges large calls in processes (``cds_hooks.Elsewhere``, ``service.operation.endpoint.CheckElsewhere``).

    Args:
        processes: how many; 0: everything is judged in place.
        site: the site of calls without a principal (open mode).
        clock: the moment.
        answers: what processes may ask.
        keeper: keeps what was judged.
        metrics: counts.
        terminology_seconds: how long the terminology server may take; None: there is none.
        log_level: of the processes.
        log_style: of the processes.
        in_place: the most that is judged in place.
        work_seconds: processor seconds of one call.
    """

    def __init__(
        self,
        processes: int,
        site: Site | None,
        *,
        clock: Callable[[], datetime],
        answers: Answers,
        keeper: Keeper,
        metrics: Metrics,
        terminology_seconds: float | None = None,
        log_level: str = "info",
        log_style: str = "json",
        in_place: InPlace = IN_PLACE,
        work_seconds: float = 5.0,
    ) -> None:
        self._slots: list[_Process | None] = [None] * processes
        self._site = site
        self._clock = clock
        self._answers = answers
        self._keeper = keeper
        self._metrics = metrics
        self._start = Start({}, "", terminology_seconds, work_seconds, log_level, log_style)
        self._in_place = in_place
        self._work_seconds = work_seconds
        self._numbers = count(1)
        self._room = asyncio.Semaphore(_ABOARD * max(processes, 1))
        #: A site may not take all the room.
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._readied = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._template: _Template | None = None
        self._processes: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the processes; calls wait for the first that is ready."""
        if self._slots:
            self._keeping = asyncio.create_task(self._keep_template())

    async def aclose(self) -> None:
        """End the processes."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    @property
    def problem(self) -> str:
        """Why large calls are not judged aside; empty when they are."""
        if self._keeping is None or (self._template is not None and self._template.alive):
            return ""
        return "the processes for large calls are not running; such calls are judged beside all others and may delay them"

    def takes(self, size: int) -> bool:
        """Whether a body of so many bytes is judged aside. In place rather than not at all, while no process can be started."""
        return size > self._in_place.size and self._template is not None and self._template.alive

    def here(self) -> InPlace | None:
        """The most that is judged in place; None: everything, while no process can be started."""
        return self._in_place if self._template is not None and self._template.alive else None

    async def judge(
        self, service_id: str, hook: str, body: bytes, principal: Any, heard: OnHeard
    ) -> tuple[bytes, Callable[[], None]]:
        """The answer to a hook call, and what is done once it is sent. Raises ProtocolError."""
        site = principal if isinstance(principal, Site) else self._site
        assert site is not None, "with authentication every call has a site"
        return await self._hook(site, service_id, hook, body, heard, {})

    async def go_on(
        self, request: HookRequest, site: Site, pages: dict[str, bytes]
    ) -> tuple[bytes, Callable[[], None]]:
        """As :meth:`judge`, of a call that turned out to be too much in place; what was fetched is not fetched again."""
        return await self._hook(site, request.service_id, request.hook, request.body, lambda _: None, pages)

    async def _hook(
        self,
        site: Site,
        service_id: str,
        hook: str,
        body: bytes,
        heard: OnHeard,
        pages: dict[str, bytes],
    ) -> tuple[bytes, Callable[[], None]]:
        begin = Begin(
            next(self._numbers),
            "hook",
            site.name,
            body,
            self._clock().astimezone(site.zone),
            service_id,
            hook,
            pages,
        )
        done = await self._judged(begin, site, heard)
        return done.body, lambda: self._keeper.keep(_kept(done))

    async def check(self, site: Site, body: bytes, now: datetime) -> Checked:
        """The answer to ``$clozapine-check``. Raises ProtocolError."""
        done = await self._judged(
            Begin(next(self._numbers), "check", site.name, body, now), site, lambda _: None
        )
        return Checked(done.body, _kept(done))

    async def _judged(self, begin: Begin, site: Site, heard: OnHeard) -> Done:
        most = max(1, _ABOARD * len(self._slots) // 2)
        async with self._rooms.setdefault(site.name, asyncio.Semaphore(most)), self._room:
            for _ in range(_TRIES):
                process = await self._least_busy()
                try:
                    done = await process.judge(_Call(begin, site, heard))
                except _Ended as ended:
                    if not ended.by_call:
                        continue
                    if ended.code == -signal.SIGPROF:
                        raise OverShare(self._work_seconds) from None
                    raise JudgingFailed(f"signal or status {ended.code}") from None
                return self._noted(done)
        raise JudgingFailed("its processes ended")

    def _noted(self, done: Done) -> Done:
        for rule, exception in done.faults:
            self._metrics.rule_faults(rule, exception)
        for _ in range(done.foreign_servers):
            self._metrics.foreign_server()
        if done.refusal is not None:
            r = done.refusal
            raise ProtocolError(r.status, r.message, code=r.code, expression=r.expression, headers=r.headers)
        if done.exception:
            raise JudgingFailed(done.exception)
        return done

    async def _least_busy(self) -> _Process:
        while True:
            ready = [p for p in self._slots if p is not None and p.ready]
            if ready:
                return min(ready, key=lambda p: len(p.calls))
            await self._readied.wait()

    async def _keep_template(self) -> None:
        """Keep the template running, and as many processes as are wanted."""
        pause = _AGAIN_SECONDS[0]
        products, release = imported()
        start = packed(replace(self._start, products=products, release=release))
        while True:
            try:
                self._template = _Template(start)
                await self._template.run(self._split_off)
            except OSError as error:
                log.error("processes for large calls could not be started: %s", type(error).__name__)
            finally:
                for task in self._processes:
                    task.cancel()
                await asyncio.gather(*self._processes, return_exceptions=True)
            log.error("the template of the processes for large calls ended and is started anew")
            pause = _AGAIN_SECONDS[0] if self._processes else min(2 * pause, _AGAIN_SECONDS[1])
            self._processes = []
            await asyncio.sleep(pause)

    def _split_off(self) -> None:
        template = self._template
        assert template is not None, "it has just said that it is ready"
        self._processes = [
            asyncio.create_task(self._keep(template, slot)) for slot in range(len(self._slots))
        ]

    async def _keep(self, template: _Template, slot: int) -> None:
        """Keep one process running as long as the template lives."""
        while template.alive:
            process = self._slots[slot] = _Process(template, self._answers)
            try:
                code = await process.run(self._tell_ready)
            except OSError as error:
                log.error("a process for large calls could not begin: %s", type(error).__name__)
                await asyncio.sleep(_AGAIN_SECONDS[0])
                continue
            why = "work" if code == -signal.SIGPROF else "late" if code == -signal.SIGKILL else "fault"
            self._metrics.ended(why)
            log.warning("a process for large calls ended (%s, %d) and is started anew", why, code)

    def _tell_ready(self) -> None:
        self._readied.set()
        self._readied.clear()


def _kept(done: Done) -> Any:
    return pickle.loads(done.kept)  # noqa: S301 - from this program only


def _without_secrets(site: Site) -> Site:
    """What judging needs of a site: neither its keys nor its webhook."""
    options = site.options.model_copy(
        update={"webhook_secret": SecretStr(""), "backend": None, "webhook": ""}
    )
    return replace(site, options=options)
