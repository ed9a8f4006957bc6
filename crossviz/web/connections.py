"""Connections that are ended: those that ask nothing, that take nothing, and those beyond a number.

uvicorn waits for ever for the head of a request, and for a client that does not take its answer. Gradio makes its
server itself and passes no setting on, so what serves a connection is exchanged once it runs.
"""

import asyncio
import logging
import socket
import struct
from typing import Any

from crossviz.web.headers import BARE

__all__ = ["MAX_CONNECTIONS", "QUIET_SECONDS", "limit_connections"]

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 800
"""Connections at a time. A visitor has two or three; a process may usually open 1024 files."""
QUIET_SECONDS = 20.0
"""How long a connection may be without a request that is whole, or with an answer of which nothing is taken."""
_HEADERS = b"".join(b"%s: %s\r\n" % header for header in [(b"content-type", b"text/plain; charset=utf-8"), *BARE])


def limit_connections(server: Any) -> None:
    """From now on, connections to a running server keep to the limits.

    Args:
        server: a `uvicorn.Server`, which looks up how to serve a connection when it comes.
    """
    server.config.http_protocol_class = _limited(server.config.http_protocol_class)


def _limited(protocol: type) -> type:
    class Limited(protocol):
        """One connection. `cycle` is its request and what is answered to it, None before the first."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.ws_protocol_class = None  # a websocket's protocol would take the connection, and the watch never end
            super().connection_made(transport)
            self._untaken, self._seen, self._heard = 0, None, False
            self._taking, self._acknowledged = False, 0
            self._watch = self.loop.call_later(QUIET_SECONDS, self._look)
            if len(self.connections) > MAX_CONNECTIONS:
                log.warning("There are more than %d connections: the newest is refused.", MAX_CONNECTIONS)
                self._answer(b"503 Service Unavailable", "Too many are here at once: try again in a minute.")

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._heard = True
            super().data_received(data)

        def resume_writing(self) -> None:
            self._taking = True  # what waited was taken, and more has come in its place
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            self._answer(b"400 Bad Request", msg)

        def _look(self) -> None:
            """Ends the connection if nothing became of it since the last look."""
            self._watch = self.loop.call_later(QUIET_SECONDS, self._look)
            waiting = self.transport.get_write_buffer_size()
            asks = self.cycle is not None and not self.cycle.response_complete
            acknowledged = _acknowledged(self.transport)
            taking = self._taking or acknowledged > self._acknowledged
            self._taking, self._acknowledged = False, acknowledged
            if waiting >= self._untaken > 0 and not taking:
                self.transport.abort()
            elif not asks and not waiting and self.cycle is self._seen:
                if self._heard:
                    self._answer(b"408 Request Timeout", f"No request came in {QUIET_SECONDS:.0f} seconds.")
                self.transport.close()
            self._untaken, self._seen = waiting, self.cycle

        def _answer(self, status: bytes, sentence: str) -> None:
            body = sentence.encode()
            length = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + _HEADERS + length + body)
            self.transport.close()

    return Limited


def _acknowledged(transport: asyncio.Transport) -> int:
    """Bytes that the other side's system has taken (tcpi_bytes_acked); 0 where this system does not say: Linux does."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return struct.unpack_from("=Q", info, 120)[0]
    except (AttributeError, OSError, struct.error):
        return 0
