"""Which addresses on the network may be talked to: checked at the moment of connecting.

A name is resolved once and the very address that was checked is the one that is connected to, so
a name server cannot answer differently in between. Redirects are followed nowhere.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from functools import lru_cache

import anyio
import certifi
import httpcore
import httpx

KEPT_SECONDS = 5.0
"""How long a connection that nobody uses is kept."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None and not is_public(str(inner)):
            return False
    return ip.is_global and not ip.is_multicast


def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses of a name.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed, too, where what waits for its TLS is cancelled."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._inner.aclose()
            raise


class _Anywhere(httpcore.AsyncNetworkBackend):
    """Connects to whatever is asked for."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        made = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(made)

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("sockets of this machine are not asked")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Public(_Anywhere):
    """Connects to public addresses alone."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                found = await anyio.to_thread.run_sync(addresses_of, host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from error
        if not found or not all(map(is_public, found)):
            raise httpcore.ConnectError(f"{host} leads to an address that is not public")
        return await super().connect_tcp(found[0], port, timeout, local_address, socket_options)


@lru_cache
def _tls() -> ssl.SSLContext:
    """Loading the authorities' certificates takes tens of milliseconds: once is enough."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())  # a small container may have none of its own
    return context


def pool(*, public_only: bool, connections: int) -> httpcore.AsyncConnectionPool:
    """Connections for requests without an HTTP client around them, at a third of its price."""
    return httpcore.AsyncConnectionPool(
        ssl_context=_tls(),
        max_connections=connections,
        keepalive_expiry=KEPT_SECONDS,
        network_backend=_Public() if public_only else _Anywhere(),
    )


def client(*, public_only: bool, timeout: float, connections: int = 100) -> httpx.AsyncClient:
    """An HTTP client that follows no redirect and no proxy of the environment.

    Args:
        public_only: refuse addresses that are private, loopback, link-local or reserved.
        timeout: seconds for each of connecting, reading, writing and waiting for a connection.
        connections: most at a time.
    """
    limits = httpx.Limits(max_connections=connections)
    transport = httpx.AsyncHTTPTransport(verify=_tls(), limits=limits)
    if public_only:
        transport._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            max_connections=connections,
            max_keepalive_connections=connections,
            network_backend=_Public(),
        )
    return httpx.AsyncClient(
        transport=transport, timeout=timeout, follow_redirects=False, trust_env=False
    )
