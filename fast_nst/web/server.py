"""Run the server: its socket, its private folder, its end."""

from __future__ import annotations

import errno
import ipaddress
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from fast_nst.config.web import WebConfig
from fast_nst.errors import InputError, one_line
from fast_nst.web.app import make_app
from fast_nst.web.camera import MOST_FRAME_BYTES
from fast_nst.web.engine import Engine
from fast_nst.web.export_page import page_files
from fast_nst.web.guard import Guard, is_loopback
from fast_nst.web.page_cache import cached_page
from fast_nst.web.protocol import MOST_HEADER_BYTES, GuardedProtocol, GuardedSocket
from fast_nst.web.storage import Storage

__all__ = ["Address", "serve"]

_SECONDS_TO_END = 3  # that answers under way get when the server ends


@dataclass(frozen=True)
class Address:
    """Where the page is."""

    url: str
    """with the token, if there is one"""
    engine: str
    """device, precision and engine"""


def serve(config: WebConfig, ready: Callable[[Address], None], tell: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, which are raised again at the end.

    Args:
        ready: called once connections are accepted.
        tell: called with messages for a person.

    Raises:
        InputError: the address cannot be listened on, or a style cannot be loaded.
    """
    with _listen(config.host, config.port) as listening, Storage(config.bytes_of("max_storage")) as storage:
        token = config.fixed_token or ("" if is_loopback(config.host) else secrets.token_urlsafe(24))
        page = _page(config, storage, tell)
        engine = Engine(config)
        app = Guard(
            make_app(config, engine, storage, page),
            host=config.host,
            names=config.allow_host,
            token=token,
        )
        server = _server(app)
        server.on_ready = lambda: ready(Address(_url(listening, config.host, token), engine.description))
        server.run(sockets=[listening])


def _page(config: WebConfig, storage: Storage, tell: Callable[[str], None]) -> Path:
    """The folder of the page's files.

    Raises:
        InputError: the one that was given is none.
    """
    if config.page is not None:
        page = Path(config.page).expanduser()
        if not (page / "index.html").is_file():
            raise InputError(f"--page {page} holds no index.html; fast-nst export-page {page} writes one")
        return page
    try:
        return cached_page(tell=lambda: tell("preparing the page for its first start"))
    except InputError as error:  # without a network, at the first start
        tell(f"the page works with this server alone, not by itself: {one_line(error)}")
        page = storage.folder / "page"
        page.mkdir()
        for file in page_files():
            shutil.copyfile(file, page / file.name)
    return page


class _Server(uvicorn.Server):  # type: ignore[misc]  # uvicorn's types are not read, see pyproject.toml
    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn, but a signal that is ignored stays so: nohup, and shells for background jobs."""
        ignored = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is signal.SIG_IGN]
        with super().capture_signals():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            yield


def _server(app: Guard) -> _Server:
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws=GuardedSocket,
        ws_max_size=MOST_FRAME_BYTES,
        ws_per_message_deflate=False,  # frames are compressed already
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        log_config=None,
        log_level="error",
        access_log=False,  # addresses hold the token
        proxy_headers=False,  # a client could claim to be another one
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    return _Server(config)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: with what to change.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"--host {host}: {error.strerror}; give an address of this machine") from None
    family, _, _, _, address = found[0]
    try:
        return socket.create_server(address[:2], family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is in use; give another --port, or 0 for any") from None
        if error.errno == errno.EACCES:
            raise InputError(f"port {port} is not allowed to this user; give --port 1024 or above") from None
        raise InputError(f"--host {host} --port {port}: {error.strerror}") from None


def _url(listening: socket.socket, host: str, token: str) -> str:
    """The page's address; for a server that listens everywhere, by this machine's name."""
    name = host.strip("[]")
    try:
        address = ipaddress.ip_address(name)
        if address.is_unspecified:
            name = socket.gethostname()
        elif address.version == 6:
            name = f"[{name}]"
    except ValueError:
        pass
    query = f"?token={token}" if token else ""
    return f"http://{name}:{listening.getsockname()[1]}/{query}"
