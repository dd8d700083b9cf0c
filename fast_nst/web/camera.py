"""The camera of a browser over a WebSocket: frames in as JPEG, stylized frames out.

The newest frame wins: one that comes while another is stylized replaces the one that waits, so that what is
shown is never older than the network takes.
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from starlette.websockets import WebSocket, WebSocketDisconnect

from fast_nst.errors import InputError, one_line
from fast_nst.io.images import ImageReadError, Picture, over_white, read_picture, write_picture
from fast_nst.web.engine import Engine
from fast_nst.web.parameters import Parameters, parse_parameters
from fast_nst.web.refusals import Refusal, error_body

__all__ = ["Cameras"]

MOST_CAMERAS = 16
MOST_OF_A_CLIENT = 8
MOST_FRAME_BYTES = 8 << 20
_MOST_PIXELS = 1 << 22  # of a frame
_IDLE = 600.0  # seconds without a message
_STALLED = 20.0  # seconds that a client may take to receive a frame
_QUALITY = 90
_GOING_AWAY = 1001


class Cameras:
    """The sockets of all cameras, and the threads that stylize their frames."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._open = Counter[str]()
        # One for each camera: a frame waits in its thread until it is its turn.
        self._threads = ThreadPoolExecutor(MOST_CAMERAS, thread_name_prefix="fast-nst frames")

    def close(self) -> None:
        """Stylize no more frames."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def serve(self, socket: WebSocket) -> None:
        """One camera, until its client leaves.

        Raises:
            Refusal: too many cameras are connected.
        """
        client = socket.client.host if socket.client is not None else ""
        if self._open[client] >= MOST_OF_A_CLIENT or self._open.total() >= MOST_CAMERAS:
            raise Refusal(503, "too many cameras are connected; close one, or try again later")
        self._open[client] += 1
        try:
            await socket.accept()
            await _Camera(socket, self._engine, self._threads).run()
        finally:
            self._open[client] -= 1
            self._open += Counter()  # drops clients that have left


class _Camera:
    def __init__(self, socket: WebSocket, engine: Engine, threads: ThreadPoolExecutor) -> None:
        self._socket, self._engine, self._threads = socket, engine, threads
        self._parameters: Parameters | None = None
        self._newest: bytes | None = None
        self._came = asyncio.Event()
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        stylizing = asyncio.create_task(self._stylize())
        reading = asyncio.create_task(self._read())
        try:
            ended, _ = await asyncio.wait((stylizing, reading), return_when=asyncio.FIRST_COMPLETED)
            with suppress(WebSocketDisconnect):
                for task in ended:
                    task.result()
        except TimeoutError:
            with suppress(Exception):  # TimeoutError again where the client does not receive
                async with asyncio.timeout(1.0):
                    await self._socket.close(_GOING_AWAY, "idle for too long")
        finally:
            for task in (stylizing, reading):
                task.cancel()
            await asyncio.gather(stylizing, reading, return_exceptions=True)

    async def _read(self) -> None:
        """Take what comes; of frames only the newest."""
        while True:
            async with asyncio.timeout(_IDLE):
                message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (frame := message.get("bytes")) is not None:
                self._newest = frame
                self._came.set()
                continue
            try:
                parameters = parse_parameters(message.get("text") or "")
                self._engine.check(parameters)
                self._parameters = parameters
            except InputError as error:
                await self._send(error_body(one_line(error)).decode())

    async def _stylize(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._came.wait()
            self._came.clear()
            frame, self._newest = self._newest, None
            if frame is None:
                continue
            try:
                made = await loop.run_in_executor(self._threads, self._result, frame, self._parameters)
            except InputError as error:
                await self._send(error_body(one_line(error)).decode())
            else:
                await self._send(made)

    def _result(self, frame: bytes, parameters: Parameters | None) -> bytes:
        """In a thread: a stylized frame, JPEG."""
        if parameters is None:
            raise InputError(
                'send parameters before the first frame, such as {"weights": {"starry-night": 1}}'
            )
        try:
            picture = Picture(over_white(read_picture(frame, max_pixels=_MOST_PIXELS)))
        except ImageReadError as error:
            raise InputError(f"a frame cannot be read: {error.reason}") from None
        stylizer = self._engine.stylizer(parameters)
        with self._engine.turns:
            (made,) = stylizer.pictures([picture])
        file = io.BytesIO()
        write_picture(file, made, format="jpg", quality=_QUALITY)
        return file.getvalue()

    async def _send(self, message: str | bytes) -> None:
        """Send one message.

        Raises:
            TimeoutError: the client does not receive.
        """
        async with self._sending, asyncio.timeout(_STALLED):
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)
