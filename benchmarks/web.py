"""The server of ``fast-nst web``, measured.

    python benchmarks/web.py camera [STYLE]     frames over the socket against the camera command's loop
    python benchmarks/web.py memory [STYLE]     resident memory of the server over minutes of a camera

``camera``: the client sends a frame of 640 x 480 as JPEG, waits for the result and sends the next one, as the
page does; the loop of ``fast-nst stylize 0`` gets the same frames without a camera's wait. Both take turns,
in several rounds, so that whatever else the machine does hits both. Printed is the median and the range of
the ratio, and processor time a frame, which on a busy machine says more. Needs the extra web.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from websockets.sync.client import ClientConnection, connect

from fast_nst.config import CameraConfig, StylizeConfig
from fast_nst.inference.camera.capture import Camera
from fast_nst.inference.camera.live import Live
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, fit, write_picture

WIDTH, HEIGHT = 640, 480


def frames(count: int = 8) -> list[NDArray[np.uint8]]:
    """``(HEIGHT, WIDTH, 3)``: smooth noise, with a sensor's on top."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = Picture(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = fit(coarse, WIDTH).rgb.astype(np.float32) + rng.normal(0, 2, (HEIGHT, WIDTH, 3))
        made.append(smooth.clip(0, 255).round().astype(np.uint8))
    return made


def jpeg(frame: NDArray[np.uint8]) -> bytes:
    """A frame as a browser encodes it."""
    file = io.BytesIO()
    write_picture(file, Picture(frame), format="jpg", quality=90)
    return file.getvalue()


@contextmanager
def server(style: str, page: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of one style; its process and its port."""
    (page / "index.html").touch()
    command = [sys.executable, "-m", "fast_nst", "web", "--port", "0", "--style", style, "--page", str(page)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not (found := re.search(r"http://[^/]+:([0-9]+)/", line := process.stderr.readline())):
        if not line:
            raise SystemExit("the server did not start")
    try:
        yield process, int(found[1])
    finally:
        process.terminate()
        process.wait()


def over_socket(socket: ClientConnection, data: list[bytes], seconds: float) -> tuple[float, float, int]:
    """Frames a second, the median time of one in seconds, and their number."""
    spent, started = [], time.perf_counter()
    for frame in itertools.cycle(data):
        before = time.perf_counter()
        socket.send(frame)
        answer = socket.recv()
        if isinstance(answer, str):
            raise SystemExit(answer)
        spent.append(time.perf_counter() - before)
        if time.perf_counter() - started >= seconds:
            break
    return len(spent) / (time.perf_counter() - started), statistics.median(spent), len(spent)


class Endless:
    """A camera that has a frame whenever it is asked."""

    def __init__(self, pixels: list[NDArray[np.uint8]]) -> None:
        self._pixels = itertools.cycle(pixels)

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        time.sleep(1 / 60)
        return True, next(self._pixels)

    def get(self, property: int) -> float:
        return 0.0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def release(self) -> None:
        pass


def in_the_loop(stylizer: Stylizer, pixels: list[NDArray[np.uint8]], seconds: float) -> tuple[float, int]:
    """Frames a second of the camera command's loop, and their number."""
    camera = Camera("0", CameraConfig(), open=lambda source: Endless(pixels))
    live = Live(camera, [("style", Path())], StylizeConfig(), screen=None, load=lambda path: stylizer)
    started, count = time.perf_counter(), 0
    for _ in live.reports():
        count += 1
        if time.perf_counter() - started >= seconds:
            break
    rate = count / (time.perf_counter() - started)
    live.close()
    return rate, count


def camera(style: str, page: Path, rounds: int, seconds: float) -> None:
    """The table of ``camera``."""
    pixels, stylizer = frames(), Stylizer.load(style)
    data = list(map(jpeg, pixels))
    ratios, costs = [], []
    with server(style, page) as (process, port), connect(f"ws://127.0.0.1:{port}/api/camera") as socket:
        socket.send(json.dumps({"weights": {Path(style).stem: 1}}))
        over_socket(socket, data, seconds / 2)
        in_the_loop(stylizer, pixels, seconds / 2)
        for _ in range(rounds):
            before = processor_seconds(os.getpid())
            loop, count = in_the_loop(stylizer, pixels, seconds)
            loop_cost = 1e3 * (processor_seconds(os.getpid()) - before) / count
            before = processor_seconds(process.pid)
            rate, latency, count = over_socket(socket, data, seconds)
            cost = 1e3 * (processor_seconds(process.pid) - before) / count
            ratios.append(rate / loop)
            costs.append(loop_cost / cost)
            print(f"loop {loop:6.2f}/s, {loop_cost:5.0f} ms of processor a frame", end="   ")
            print(f"socket {rate:6.2f}/s, {cost:5.0f} ms, {1e3 * latency:5.0f} ms until it is back")
    for name, values in (("rate", ratios), ("processor", costs)):
        spread = f"{min(values):.2f}–{max(values):.2f}"
        print(f"{style}, {stylizer}: socket over loop, by {name} {statistics.median(values):.2f} ({spread})")


def processor_seconds(process: int) -> float:
    """Processor time of a process and its threads so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    """Megabytes of a process."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    (kilobytes,) = re.findall(r"VmRSS:\s+([0-9]+) kB", status)
    return int(kilobytes) / 1024


def memory(style: str, page: Path, rounds: int, seconds: float) -> None:
    """The table of ``memory``."""
    data = list(map(jpeg, frames()))
    with server(style, page) as (process, port), connect(f"ws://127.0.0.1:{port}/api/camera") as socket:
        socket.send(json.dumps({"weights": {Path(style).stem: 1}}))
        for _ in range(rounds):
            rate, _, _ = over_socket(socket, data, seconds)
            print(f"{resident(process.pid):7.1f} MB, {rate:.2f} frames/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["camera", "memory"])
    parser.add_argument("style", nargs="?", default="starry-night")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as page:
        {"camera": camera, "memory": memory}[given.what](given.style, Path(page), given.rounds, given.seconds)


if __name__ == "__main__":
    main()
