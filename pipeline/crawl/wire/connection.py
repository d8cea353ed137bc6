"""A connection to a checked address, plain or TLS, that reads no more bytes from its socket than it is allowed to."""

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohappyeyeballs import start_connection

from pipeline.crawl.addresses import Endpoint

READ_BYTES = 64 << 10
"""Read from a socket at a time."""

MAX_TURN = 0.01
"""Seconds that one connection may keep the others waiting: bytes that are there already are read without a pause."""

NEXT_ADDRESS_DELAY = 0.25
"""Seconds after which the next address of a host is tried beside one that does not answer (RFC 8305, section 5)."""


class TooManyBytes(Exception):  # noqa: N818 - a verdict, turned into a dropped row
    """The server sent more bytes than the connection is allowed to read."""


class Connection:
    """Bytes to and from one server.

    TLS is done in memory, so that its own bytes (handshakes, tickets, empty records) are counted like all others.

    Attributes:
        allowed: Bytes that may still be read from the socket.
    """

    def __init__(self, connected: socket.socket, allowed: int) -> None:
        self.allowed = allowed
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._turn_ends = self._loop.time() + MAX_TURN
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands, and check the server's certificate for `host`.

        Raises:
            ssl.SSLError: its certificate or TLS version is not accepted.
        """
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive_tls()
            else:
                return await self._flush()

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        if self._tls is None:
            await self._loop.sock_sendall(self._socket, data)
        else:
            self._tls.write(data)  # into memory: it takes everything
            await self._flush()

    async def read(self) -> bytes:
        """Return the next bytes, or none at the end.

        Raises:
            TooManyBytes: `allowed` is used up.
            OSError: the connection broke; with TLS also where it ends without saying so, as anybody on the way could
                have ended it (RFC 9112, section 9.8).
        """
        if self._tls is None:
            return await self._receive()
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                await self._receive_tls()
            except ssl.SSLError as error:
                raise ConnectionAbortedError(error.errno, error.strerror) from None

    async def give_way(self) -> None:
        """Let other connections and deadlines have their turn if this one has taken long."""
        if self._loop.time() > self._turn_ends:
            await asyncio.sleep(0)
            self._turn_ends = self._loop.time() + MAX_TURN

    def is_quiet(self) -> bool:
        """Return whether the server has neither closed the connection nor sent anything unasked."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def _receive(self) -> bytes:
        await self.give_way()
        if self.allowed <= 0:
            raise TooManyBytes
        data = await self._loop.sock_recv(self._socket, min(READ_BYTES, self.allowed))
        self.allowed -= len(data)
        return data

    async def _receive_tls(self) -> None:
        data = await self._receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._loop.sock_sendall(self._socket, data)


async def connect(endpoints: Sequence[Endpoint], allowed: int) -> Connection:
    """Connect to the first of a host's endpoints that answers; later ones are tried beside those that hesitate.

    Raises:
        OSError: none of them can be connected to.
    """
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    addresses = [
        (families[at.address.version], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(at.address), at.port))
        for at in endpoints
    ]
    connected = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_DELAY, interleave=1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Connection(connected, allowed)
