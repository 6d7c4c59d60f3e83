"""Large calls, judged in processes of their own: begun before they are needed, used again, and ended with a call that must end."""

from __future__ import annotations

import asyncio
import logging
import pickle
import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from cds_hooks import Heard as OnHeard
from cds_hooks import HookRequest, ProtocolError, Response
from service.alerts.knowledge.products import imported
from service.aside.answers import Answers
from service.aside.messages import Begin, Done, Start, packed
from service.aside.process import Ended, Process, begun
from service.aside.splitting import Template
from service.hooks.in_place import InPlace
from service.hooks.kept import Keeper
from service.operation.endpoint import Checked
from service.operation.question import Asked
from service.ops.metrics import Metrics
from service.options.site import Site

log = logging.getLogger("service.aside")

IN_PLACE = InPlace()
#: Calls at once for each process that is kept ready: some wait for their EHR while others are judged. A body of 5 MB may need 100 MB.
_AT_ONCE = 4
#: After a template that could not start; doubled up to the last.
_AGAIN_SECONDS = (0.5, 30.0)


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


class Aside:
    """Judges large calls in processes (``cds_hooks.Elsewhere``, ``service.operation.endpoint.CheckElsewhere``).

    Args:
        ready: processes that are kept ready; 0: everything is judged in place.
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
        ready: int,
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
        self._ready = ready
        self._site = site
        self._clock = clock
        self._answers = answers
        self._keeper = keeper
        self._metrics = metrics
        self._start = Start({}, "", terminology_seconds, work_seconds, log_level, log_style)
        self._in_place = in_place
        self._work_seconds = work_seconds
        most = _AT_ONCE * ready
        self._room = asyncio.Semaphore(most)
        #: A site may not take all the room.
        self._of_a_site = max(1, most // 2)
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._idle: list[Process] = []
        self._template: Template | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        self._pause = _AGAIN_SECONDS[0]

    def start(self) -> None:
        """Start the template; until it is ready everything is judged in place."""
        if self._ready:
            self._keeping = asyncio.create_task(self._keep_template())

    async def aclose(self) -> None:
        """End the processes."""
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    @property
    def problem(self) -> str:
        """Why large calls are not judged aside; empty when they are."""
        if self._keeping is None or self._running:
            return ""
        return "the processes for large calls are not running; such calls are judged beside all others and may delay them"

    @property
    def _running(self) -> bool:
        return self._template is not None and self._template.alive

    def takes(self, size: int) -> bool:
        """Whether a body of so many bytes is judged aside. In place rather than not at all, while no process can be started."""
        return size > self._in_place.size and self._running

    def here(self) -> InPlace | None:
        """The most that is judged in place; None: everything, while no process can be started."""
        return self._in_place if self._running else None

    async def judge(
        self, service_id: str, hook: str, body: bytes, principal: Any, heard: OnHeard
    ) -> Response:
        """The answer to a hook call. Raises ProtocolError."""
        site = principal if isinstance(principal, Site) else self._site
        assert site is not None, "with authentication every call has a site"
        return await self._hook(site, service_id, hook, body, heard, {})

    async def go_on(self, request: HookRequest, site: Site, pages: dict[str, bytes]) -> Response:
        """As :meth:`judge`, of a call that turned out to be too much in place; what was fetched is not fetched again."""
        return await self._hook(site, request.service_id, request.hook, request.body, lambda _: None, pages)

    async def _hook(
        self, site: Site, service_id: str, hook: str, body: bytes, heard: OnHeard, pages: dict[str, bytes]
    ) -> Response:
        now = self._clock().astimezone(site.zone)
        done = await self._judged(Begin("hook", site.name, body, now, service_id, hook, pages), site, heard)
        return self._keeper.answered(lambda: _kept(done), encoded=done.body)

    async def check(self, site: Site, asked: Asked, now: datetime) -> Checked:
        """The answer to ``$clozapine-check``. Raises ProtocolError."""
        done = await self._judged(
            Begin("check", site.name, asked.body, now, patient=asked.patient, strict=asked.strict),
            site,
            lambda _: None,
        )
        return Checked(done.body, lambda: _kept(done))

    async def _judged(self, call: Begin, site: Site, heard: OnHeard) -> Done:
        of_site = self._rooms.setdefault(site.name, asyncio.Semaphore(self._of_a_site))
        async with of_site, self._room:
            process = await self._process()
            why = "fault"
            try:
                done = await process.judge(call, site, heard)
                why = ""
            except asyncio.CancelledError:
                why = "late"  # it works for nobody
                raise
            except Ended as ended:
                if ended.code == -signal.SIGPROF:
                    why = "work"
                    raise OverShare(self._work_seconds) from None
                raise JudgingFailed(f"signal or status {ended.code}") from None
            finally:
                self._back(process, why)
        return self._noted(done)

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

    async def _process(self) -> Process:
        """A process that has no call."""
        while self._idle:
            process = self._idle.pop()
            if process.alive:
                return process
            process.close()
        return await self._begun()

    async def _begun(self) -> Process:
        assert self._template is not None, "calls go aside while it runs"
        try:
            return await begun(self._template, self._answers)
        except OSError as error:
            raise JudgingFailed(f"no process could begin: {type(error).__name__}") from None

    def _back(self, process: Process, why: str) -> None:
        """Take a process back from its call; ``why`` it is to end."""
        if why:
            process.kill()
            self._metrics.ended(why)
            log.warning("a process for large calls was ended (%s)", why)
            self._fill()
        elif process.alive:
            self._idle.append(process)  # the last one back is the first used: its memory is its own by then
        else:
            process.close()

    async def _keep_template(self) -> None:
        """Keep the template running."""
        products, release = imported()
        start = packed(replace(self._start, products=products, release=release))
        while True:
            try:
                self._template = Template(start)
                await self._template.run(self._on_ready)
            except OSError as error:
                log.error("processes for large calls could not be started: %s", type(error).__name__)
            finally:
                for process in self._idle:
                    process.close()
                self._idle.clear()
            log.error("the template of the processes for large calls ended and is started anew")
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _AGAIN_SECONDS[1])

    def _on_ready(self) -> None:
        self._pause = _AGAIN_SECONDS[0]
        self._fill()

    def _fill(self) -> None:
        """Have as many processes ready as are wanted."""
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._filled())

    async def _filled(self) -> None:
        while self._running and len(self._idle) < self._ready:
            try:
                self._idle.append(await self._begun())
            except JudgingFailed as error:
                log.error("a process for large calls: %s", error)
                return


def _kept(done: Done) -> Any:
    return pickle.loads(done.kept)  # noqa: S301 - from this program only
