"""One judging process, as the service sees it: one call at a time, and ended whenever that has to be."""

from __future__ import annotations

import asyncio
import socket

from msgspec import Struct
from msgspec.structs import replace
from pydantic import SecretStr

from cds_hooks import Heard as OnHeard
from service.aside.answers import Answers
from service.aside.messages import WINDOW, Ask, Begin, Done, Heard, Knows, packed, receive
from service.aside.splitting import Template
from service.options.site import Site


class Ended(Exception):
    """The process ended before its call did.

    Args:
        code: how; a signal as a negative number.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Process:
    """Made by :func:`begun`."""

    def __init__(
        self,
        template: Template,
        pid: int,
        ended: asyncio.Future[int],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: Answers,
    ) -> None:
        self._template = template
        self.pid = pid
        self._ended = ended
        self._reader, self._writer = streams
        self._answers = answers
        #: Sites that it knows.
        self._sites: dict[str, Site] = {}

    @property
    def alive(self) -> bool:
        """Whether it can be given a call."""
        return not self._ended.done() and not self._reader.at_eof()

    async def judge(self, call: Begin, site: Site, on_heard: OnHeard) -> Done:
        """Judge one call. Raises Ended."""
        asks: set[asyncio.Task[None]] = set()
        try:
            if self._sites.get(site.name) is not site:
                self._send(Knows(_without_secrets(site)))
                self._sites[site.name] = site
            self._send(call)
            while True:
                match await receive(self._reader):
                    case Heard(request=request):
                        on_heard(request)
                    case Ask() as ask:
                        asks.add(asyncio.create_task(self._reply(ask, site)))
                    case Done() as done:
                        return done
        except (asyncio.IncompleteReadError, ConnectionError):
            self.kill()
            raise Ended(await self._ended) from None
        finally:
            for task in asks:
                task.cancel()

    async def _reply(self, ask: Ask, site: Site) -> None:
        self._send(await self._answers.reply(ask, site))

    def _send(self, message: Struct) -> None:
        self._writer.write(packed(message))

    def kill(self) -> None:
        """End it, whatever it does."""
        self._template.kill(self.pid)
        self._writer.close()

    def close(self) -> None:
        """Let it end by itself."""
        self._writer.close()


async def begun(template: Template, answers: Answers) -> Process:
    """Split a process off. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            pid, ended = await template.begin(theirs.fileno())
        streams = await asyncio.open_connection(sock=ours, limit=WINDOW)
    except BaseException:
        ours.close()
        raise
    return Process(template, pid, ended, streams, answers)


def _without_secrets(site: Site) -> Site:
    """What judging needs of a site: neither its keys nor its webhook."""
    options = site.options.model_copy(
        update={"webhook_secret": SecretStr(""), "backend": None, "webhook": ""}
    )
    return replace(site, options=options)
