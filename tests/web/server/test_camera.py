"""A browser's camera: its frames come back stylized, the newest first."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from websockets.sync.client import connect

from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import read_picture, write_picture

if TYPE_CHECKING:
    from tests.web.server.conftest import Running


@pytest.fixture
def camera(server: Running) -> Iterator[Any]:
    with connect(f"ws://127.0.0.1:{server.port}/api/camera") as socket:
        yield socket


def pixels(data: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_frame_comes_back_as_the_library_stylizes_it(
    camera: Any, picture: Callable[..., bytes], styles: list[Path]
) -> None:
    frame = picture(5, 96, 128, format="JPEG")
    for path in styles:
        camera.send(json.dumps({"weights": {path.stem: 1}}))
        camera.send(frame)
        stylizer = Stylizer.load(path, device="cpu", backend="torch", precision="fp32")
        file = io.BytesIO()
        write_picture(file, stylizer(read_picture(frame)), format="jpg", quality=90)
        assert camera.recv(20) == file.getvalue()


def test_strength_nought_gives_the_frame_itself(camera: Any, picture: Callable[..., bytes]) -> None:
    frame = picture(6, format="JPEG")
    camera.send(json.dumps({"weights": {"dots": 1}, "strength": 0}))
    camera.send(frame)
    assert np.abs(pixels(camera.recv(20)).astype(int) - pixels(frame)).mean() < 2


def test_frames_that_come_too_fast_are_dropped_and_the_last_one_is_not(
    camera: Any, picture: Callable[..., bytes]
) -> None:
    camera.send(json.dumps({"weights": {"dots": 1}, "strength": 0}))
    grays = [Image.new("RGB", (640, 480), (level,) * 3) for level in range(0, 250, 5)]
    for gray in grays:
        file = io.BytesIO()
        gray.save(file, "JPEG")
        camera.send(file.getvalue())
    seen: list[int] = []
    while not seen or seen[-1] < 240:
        seen.append(int(pixels(camera.recv(20)).mean()))
    assert seen == sorted(seen)
    assert len(seen) <= len(grays)


def test_frames_before_the_parameters_are_told_so(camera: Any, picture: Callable[..., bytes]) -> None:
    camera.send(picture(format="JPEG"))
    assert "parameters" in json.loads(camera.recv(20))["error"]


def test_cameras_and_a_video_take_turns(
    server: Running,
    client: httpx.Client,
    clip: Callable[..., Path],
    submit: Callable[..., httpx.Response],
    camera: Any,
    picture: Callable[..., bytes],
    finished: Callable[..., dict[str, Any]],
) -> None:
    long = clip("long.mp4", frames=200, size=(320, 240)).read_bytes()
    job = submit(client, long, kind="video").json()["job"]
    camera.send(json.dumps({"weights": {"dashes": 1}}))
    for i in range(3):
        camera.send(picture(i, format="JPEG"))
        camera.recv(20)
    assert client.get(f"/api/jobs/{job}").json()["state"] in ("queued", "running", "done")
    client.delete(f"/api/jobs/{job}")
    finished(client, job)
