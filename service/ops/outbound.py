"""Calls that leave the service: to listed addresses only, without redirects, proxies or surprises of the name server (cds-hooks checklist T5)."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from urllib.parse import urlsplit

import httpcore
import httpx

from service.fhir.bounded import BodyRefused, body

log = logging.getLogger("service.outbound")

Address = tuple[str, int]
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Networks in which an IPv4 address hides in the last 32 bits of an IPv6 address.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_MAX_KEY_SET_BYTES = 256_000
_KEY_SET_SECONDS = 3.0


class OutboundError(Exception):
    """A call that failed; the message says why without any content of the answer."""


def address_of(url: str) -> Address:
    """Host (lower case) and port of an absolute URL."""
    parts = urlsplit(url)
    return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = address_of(url)[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: IPAddress) -> bool:
    """Whether an address belongs to the open Internet, also when it is wrapped in an IPv6 form."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard(httpcore.AsyncNetworkBackend):
    """Opens connections to listed hosts only, after looking at every address their names stand for.

    Args:
        listed: gives the hosts and ports that may be called.
        private_networks: networks that are not public and may be called all the same; a listed URL that holds a literal
            address, or ``localhost``, needs no entry here.
    """

    def __init__(
        self, listed: Callable[[], Collection[Address]], private_networks: Iterable[IPNetwork] = ()
    ) -> None:
        self._listed = listed
        self._networks = tuple(private_networks)
        self._backend = httpcore.AnyIOBackend()

    def _may_call(self, host: str, address: IPAddress) -> bool:
        if is_public(address) or _literal(host) == address:
            return True
        if host == "localhost" and address.is_loopback:
            return True
        return any(address.version == n.version and address in n for n in self._networks)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a listed host, every one of them checked. Raises httpcore.ConnectError."""
        host = host.lower()
        if (host, port) not in self._listed():
            log.warning("a call to an address that is not listed was refused")
            raise httpcore.ConnectError("the address is not listed")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            raise httpcore.ConnectError("the name cannot be resolved") from None
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        if not addresses or not all(self._may_call(host, ipaddress.ip_address(a)) for a in addresses):
            log.warning("a call to %s was refused: its name stands for a private address", host)
            raise httpcore.ConnectError("the name stands for a private address")
        return addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See httpcore. The connection goes to an address that was checked: the name is not asked again."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self.addresses(host, port)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name server did not answer in time") from None
        for position, address in enumerate(addresses, 1):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if position == len(addresses):
                    raise
        raise httpcore.ConnectError("there is no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: nothing of this service talks to sockets of the machine."""
        raise httpcore.ConnectError("sockets of this machine are not called")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._backend.sleep(seconds)


#: Connections of one pool, and how many are kept when nobody uses them.
_CONNECTIONS = 100
_KEPT_OPEN = 20


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a connection pool that opens connections through the guard.

    Args:
        guard: decides which addresses may be called.
        context: which certificates are trusted.
        size: connections at most.
    """

    def __init__(self, guard: Guard, context: ssl.SSLContext, size: int = _CONNECTIONS) -> None:
        super().__init__(verify=context, trust_env=False)
        self.size = size
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=size,
            max_keepalive_connections=_KEPT_OPEN,
            keepalive_expiry=30.0,
            network_backend=guard,
        )

    @property
    def pool(self) -> httpcore.AsyncConnectionPool:
        """The pool, to look at."""
        assert isinstance(self._pool, httpcore.AsyncConnectionPool)
        return self._pool


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """The public certificates, and those of a PEM file besides: a hospital's own authority."""
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context


def guarded_client(guard: Guard, ca_file: Path | None = None) -> httpx.AsyncClient:
    """A client for work beside the calls: no redirects, no proxies or credentials from the environment.

    Args:
        guard: decides which addresses may be called.
        ca_file: certificates (PEM) trusted besides the public ones.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(guard, tls_context(ca_file)),
        follow_redirects=False,
        trust_env=False,
        timeout=httpx.Timeout(10.0),
    )


async def fetch_key_set(client: httpx.AsyncClient, url: str) -> bytes:
    """A JWK Set: bounded in size and time, uncompressed, no redirect. Raises OutboundError."""
    headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(_KEY_SET_SECONDS), client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                raise OutboundError(f"the key server answered {response.status_code}")
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise OutboundError("the key server compresses its answer although it was asked not to")
            return await body(response, _MAX_KEY_SET_BYTES)
    except BodyRefused:
        raise OutboundError(f"the key set is larger than {_MAX_KEY_SET_BYTES} bytes") from None
    except TimeoutError:
        raise OutboundError(f"the key server did not answer within {_KEY_SET_SECONDS:g} s") from None
    except httpx.HTTPError as error:
        raise OutboundError(
            f"the key server could not be reached ({type(error).__name__}: {error})"
        ) from None
