"""Connections: how long a request may take to come, how many a client may hold, errors in JSON.

uvicorn waits for the rest of a request's headers for ever and has one limit for all clients together; this is
its protocol with both put right.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from fast_nst.web.headers import SECURITY_HEADERS
from fast_nst.web.refusals import error_body

__all__ = ["GuardedProtocol", "GuardedSocket"]

HEAD_SECONDS = 10.0  # for the headers of a request, and for what is left of a body nobody reads
STALLED_SECONDS = 60.0  # for a client to receive anything of what it is sent
MOST_OF_A_CLIENT = 64  # connections
MOST_CONNECTIONS = 512
MOST_HEADER_BYTES = 16384


class _EndsStalled:
    """Part of a protocol: ends a connection whose client does not receive what it is sent."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._receives()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self._receives()
        super().connection_lost(exc)  # type: ignore[misc]

    def _receives(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class GuardedSocket(_EndsStalled, WebSocketsSansIOProtocol):  # type: ignore[misc]  # as below
    """uvicorn's WebSockets, ended where the client does not receive."""


class GuardedProtocol(_EndsStalled, H11Protocol):  # type: ignore[misc]  # types not read: pyproject.toml
    """uvicorn's HTTP/1.1 with limits for a single connection and a single client."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._deadline: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._make_room()
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_protocol() is not self or self._is_working():
            self._disarm()
        elif self._deadline is None:
            self._arm()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Refuse what is no handshake here: the socket's own answer would lack the headers."""
        given = dict(self.headers)
        try:
            key = base64.b64decode(given.get(b"sec-websocket-key", b"").strip(), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != 16 or given.get(b"sec-websocket-version", b"").strip() != b"13":
            self.send_400_response("the headers of the WebSocket are not those of version 13")
            return
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is no HTTP, or has too large headers."""
        reason = msg if "WebSocket" in msg else f"not a valid HTTP request, or over {MOST_HEADER_BYTES} bytes"
        self._answer(400, reason)

    def _is_working(self) -> bool:
        """Whether a request has come and is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        if not self.transport.is_closing() and not self._is_working():
            self._answer(408, f"no whole request came within {HEAD_SECONDS:g} seconds")

    def _answer(self, status: int, reason: str) -> None:
        """Answer without the application, and close."""
        self._disarm()
        body = error_body(reason)
        headers = [*SECURITY_HEADERS.items(), ("Content-Type", "application/json"), ("Connection", "close")]
        headers.append(("Content-Length", str(len(body))))
        try:
            out = self.conn.send(h11.Response(status_code=status, headers=headers))
            out += self.conn.send(h11.Data(data=body)) + self.conn.send(h11.EndOfMessage())
            self.transport.write(out)
        except h11.LocalProtocolError:
            pass  # an answer was under way already
        self.transport.close()

    def _make_room(self) -> None:
        """Close the connection that has been idle the longest where there are too many."""
        others = [one for one in self.connections if one is not self]
        mine = [one for one in others if one.client and self.client and one.client[0] == self.client[0]]
        for group, most in ((mine, MOST_OF_A_CLIENT), (others, MOST_CONNECTIONS)):
            if len(group) >= most:
                idle = [one for one in group if _is_idle(one)]
                oldest = min(idle, key=lambda one: one.since, default=self)
                oldest.transport.abort()

    @property
    def since(self) -> float:
        """When the request that is waited for must have come; 0 where none is waited for."""
        return self._deadline.when() if self._deadline is not None else 0.0


def _is_idle(connection: Any) -> bool:
    """Whether it is one of HTTP that waits for a request."""
    return isinstance(connection, GuardedProtocol) and not connection._is_working()
