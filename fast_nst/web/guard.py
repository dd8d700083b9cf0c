"""What every request passes first: is it meant for this server, does it come from its page, has it the token?

A page of another site can send requests to a server on this machine, and with a name that it points at this
machine (DNS rebinding) even read the answers. So the Host header must be a name of this server, and a request
that says which page it comes from must come from a page of this server.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fast_nst.errors import shown
from fast_nst.web.headers import SECURITY_HEADERS
from fast_nst.web.refusals import Refusal, error_body

__all__ = ["Guard", "is_loopback"]

_log = logging.getLogger("fast_nst")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_SAFE = ("GET", "HEAD")
# Without the token: what tells nothing about anyone, and is asked for where none can be sent.
_OPEN = ("/api/health", "/api/styles/")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address or name."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """An ASGI application around another one: refuses what must not reach it, and adds the headers.

    Args:
        host: the address that is listened on.
        names: other names of the server.
        token: needed for the API; empty for none.
    """

    def __init__(self, app: App, *, host: str, names: Iterable[str] = (), token: str = "") -> None:
        self._app, self._token = app, token
        self._loopback_only = is_loopback(host)
        own = ("localhost", host, *names, *(() if self._loopback_only else (socket.gethostname(),)))
        self._names = {name.lower().strip("[]") for name in own}
        self._headers = [(k.lower().encode(), v.encode()) for k, v in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] in _STARTS:
                started = True
                message["headers"] = [*message.get("headers", ()), *self._headers, *_caching(scope)]
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except Refusal as refusal:
            await _refuse(scope, refusal.status, str(refusal), send_with_headers)
        except Exception:
            _log.exception("request failed")
            if not started:
                await _refuse(scope, 500, "internal error of the server", send_with_headers)

    def _check(self, scope: Message) -> None:
        headers = _single_headers(scope)
        host = headers.get("host", "")
        if not self._is_own(_name_of(host)):
            raise Refusal(
                421, f"this server is not {shown(host)!r}; start it with --allow-host NAME to serve that name"
            )
        if scope["type"] == "websocket" or scope["method"] not in _SAFE:
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
                raise Refusal(403, f"requests from other sites are refused, got one from {shown(origin)}")
        path = str(scope["path"])
        if ".." in path.split("/"):
            raise Refusal(404, f"there is nothing at {shown(path)}")
        if path.startswith("/api/"):
            if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                raise Refusal(403, "requests from other sites are refused")
            if self._token and not path.startswith(_OPEN):
                self._check_token(headers, scope)

    def _check_token(self, headers: dict[str, str], scope: Message) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=64)
        given = headers.get("x-token") or (query.get("token") or [""])[0]
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise Refusal(401, "the token is missing or wrong; open the address that the server printed")

    def _is_own(self, name: str) -> bool:
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address needs no name that could be pointed elsewhere.
        return address.is_loopback or not self._loopback_only


def _single_headers(scope: Message) -> dict[str, str]:
    """The headers that are looked at here.

    Raises:
        Refusal: one of them is given twice, so that others may see another value than we do.
    """
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in ("host", "origin", "x-token", "sec-fetch-site"):
            if name in found:
                raise Refusal(400, f"the header {name} is given twice")
            found[name] = value.decode("latin-1")
    return found


def _name_of(host: str) -> str:
    """The name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _caching(scope: Message) -> list[tuple[bytes, bytes]]:
    """Answers of the API hold private pictures; the page's files are checked for newer ones."""
    private = scope["path"].startswith("/api/") and not scope["path"].startswith("/api/styles/")
    return [(b"cache-control", b"no-store" if private else b"no-cache")]


async def _refuse(scope: Message, status: int, reason: str, send: Send) -> None:
    """Answer with an error, in place of a socket's handshake too."""
    body = error_body(reason)
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body, "more_body": False})
