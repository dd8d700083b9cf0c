"""The API of the page, and the page's files; ``docs/server.md`` describes it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from fast_nst import __version__
from fast_nst.config.web import WebConfig
from fast_nst.errors import InputError, one_line, shown
from fast_nst.web.camera import Cameras
from fast_nst.web.engine import Engine
from fast_nst.web.jobs import JobQueue, WebJob
from fast_nst.web.paintings import Paintings
from fast_nst.web.parameters import MAX_SIDE
from fast_nst.web.refusals import Refusal, error_body
from fast_nst.web.running import run_job
from fast_nst.web.storage import Storage
from fast_nst.web.styles import Style
from fast_nst.web.submission import TEXTS, file_limits, make_job
from fast_nst.web.uploads import read_form

__all__ = ["make_app"]

_MOST_UPLOADS = 16  # at the same time
_SWEEP = 10.0  # seconds between two looks for results that have expired
_BYTES = "application/octet-stream"
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4", ".safetensors": _BYTES}


def make_app(config: WebConfig, engine: Engine, storage: Storage, page: Path) -> FastAPI:
    """The application, without the checks of `guard`.

    Args:
        storage: where uploads and results lie.
        page: the folder of the page's files.
    """
    api = _Api(config, engine, storage)
    # Its own documentation pages would load scripts from another host.
    app = FastAPI(
        title="fast-nst",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=api.lifespan,
    )
    for method, path, answer in (
        ("GET", "/api/health", api.health),
        ("GET", "/api/info", api.info),
        ("GET", "/api/styles/{name}", api.thumbnail),
        ("POST", "/api/paintings", api.add_painting),
        ("GET", "/api/paintings/{id}", api.painting),
        ("POST", "/api/paintings/{id}/refine", api.refine),
        ("POST", "/api/pictures", api.add_picture),
        ("POST", "/api/videos", api.add_video),
        ("GET", "/api/jobs/{id}", api.job),
        ("DELETE", "/api/jobs/{id}", api.cancel),
        ("GET", "/api/jobs/{id}/result", api.result),
    ):
        app.add_api_route(path, answer, methods=[method], response_model=None)
    app.add_api_websocket_route("/api/camera", api.camera)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.mount("/", StaticFiles(directory=page, html=True))
    return app


class _Api:
    def __init__(self, config: WebConfig, engine: Engine, storage: Storage) -> None:
        self._config, self._engine, self._storage = config, engine, storage
        self._queue = JobQueue(lambda job: run_job(job, engine, config.max_pixels), config.max_jobs)
        self._cameras, self._paintings = Cameras(engine), Paintings(config, engine)
        # Of their own, so that a picture does not wait for minutes of training.
        self._refinements = JobQueue(self._paintings.refine, config.max_jobs)
        self._uploads = 0

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Remove what has expired as long as the server runs, and end the jobs with it."""
        sweeping = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            self._cameras.close()
            await asyncio.to_thread(self._queue.close)
            await asyncio.to_thread(self._refinements.close)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self._queue.remove_expired()
            self._refinements.remove_expired()

    async def health(self) -> Response:
        return JSONResponse({"ok": True})

    async def info(self) -> Response:
        config = self._config
        styles = [self._described(style) for style in self._engine.styles.values()]
        limits = {
            "bytes": config.bytes_of("max_upload"),
            "video_bytes": config.bytes_of("max_video"),
            "pixels": config.max_pixels,
            "side": MAX_SIDE,
        }
        return JSONResponse(
            {
                "version": __version__,
                "styles": styles,
                "limits": limits,
                "engine": self._engine.description,
                "gallery": self._engine.mixes,
                "any_painting": self._paintings.gallery is not None,
                "queue": len(self._queue),
            }
        )

    async def thumbnail(self, name: str) -> Response:
        data = await asyncio.to_thread(self._engine.thumbnail, name.removesuffix(".jpg"))
        return Response(data, media_type="image/jpeg")

    async def add_picture(self, request: Request) -> Response:
        return await self._add(request, video=False)

    async def add_video(self, request: Request) -> Response:
        return await self._add(request, video=True)

    async def add_painting(self, request: Request) -> Response:
        async with self._upload() as folder:
            form = await read_form(request, folder, self._storage, self._paintings.limits(), ())
            style = await asyncio.to_thread(self._paintings.add, form, folder)
        return JSONResponse(self._described(style), 201)

    async def painting(self, id: str) -> Response:
        style = self._paintings.check(id)
        name = f"{style.label.title}.safetensors"
        return FileResponse(style.file, media_type=_BYTES, filename=name)

    async def refine(self, request: Request, id: str) -> Response:
        self._paintings.check(id)
        self._refinements.check_room()
        async with self._upload() as folder:
            limits = {"image": self._config.bytes_of("max_upload")}
            form = await read_form(request, folder, self._storage, limits, ("minutes",))
            job = await asyncio.to_thread(self._paintings.refinement, id, form, folder)
            self._refinements.add(job)
        return JSONResponse({"job": job.id}, 202)

    def _described(self, style: Style) -> dict[str, Any]:
        thumbnail = None if style.image is None else f"api/styles/{style.label.id}.jpg"
        return {**asdict(style.label), "thumbnail": thumbnail, "mixes": style.mixes}

    async def _add(self, request: Request, *, video: bool) -> Response:
        self._queue.check_room()
        async with self._upload() as folder:
            limits = file_limits(self._config, video=video)
            form = await read_form(request, folder, self._storage, limits, TEXTS)
            job = await asyncio.to_thread(make_job, form, folder, self._engine, self._config, video=video)
            self._queue.add(job)
        return JSONResponse({"job": job.id}, 202)

    @asynccontextmanager
    async def _upload(self) -> AsyncIterator[Path]:
        """The folder of an upload, which is removed if it fails.

        Raises:
            Refusal: too many uploads are in progress.
        """
        if self._uploads >= _MOST_UPLOADS:
            raise Refusal(
                503, f"{_MOST_UPLOADS} uploads are in progress, which is the limit; try again later"
            )
        self._uploads += 1
        folder = self._storage.new_folder()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._uploads -= 1

    async def job(self, id: str) -> Response:
        return self._state(*self._find(id))

    async def cancel(self, id: str) -> Response:
        queue, job = self._find(id)
        queue.cancel(job)
        return self._state(queue, job)

    def _find(self, id: str) -> tuple[JobQueue, WebJob]:
        queue = self._refinements if id in self._refinements else self._queue
        return queue, queue.get(id)

    def _state(self, queue: JobQueue, job: WebJob) -> Response:
        return JSONResponse(
            {
                "state": job.state,
                "place": queue.place(job),
                "progress": job.progress,
                "message": job.message,
            }
        )

    async def result(self, id: str) -> Response:
        _, job = self._find(id)
        if job.state != "done":
            why = f": {job.message}" if job.state == "failed" else "; ask again when its state is done"
            raise Refusal(409, f"the job is {job.state}{why}")
        return FileResponse(job.target, media_type=_TYPES[job.target.suffix], filename=job.download)

    async def camera(self, socket: WebSocket) -> None:
        await self._cameras.serve(socket)


async def _refused(connection: Request | WebSocket, error: Exception) -> Response:
    """An error as JSON; also in place of a socket's handshake."""
    if isinstance(error, HTTPException):
        where = shown(connection.url.path)
        known = {404: f"there is nothing at {where}", 405: f"{where} does not take this method"}
        status, reason = error.status_code, known.get(error.status_code, str(error.detail))
    else:
        status, reason = getattr(error, "status", 422), one_line(error)
    answer = Response(error_body(reason), status, media_type="application/json")
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(answer)
    return answer
