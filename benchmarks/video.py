"""Videos and the camera, measured.

    python benchmarks/video.py temporal --photos FOLDER [STYLE ...]    flicker, with exactly known motion
    python benchmarks/video.py rate [STYLE ...]                        whole chain against the network alone
    python benchmarks/video.py memory [STYLE ...]                      resident memory, 150 frames and 1,500
    python benchmarks/video.py latency [STYLE ...]                     camera to screen, 60 pictures/s in

``temporal``: a camera pans over each photograph, turns and zooms a little, with noise of 2 gray levels, so
that the motion of every pixel is known. Printed is the mean squared difference of each stylized frame to the
one before it, moved by the true motion, over that of the input frames; a border that the motion brings in is
left out. ``frames`` is the network frame by frame, ``smoothed`` the same with --temporal-smoothing; several
styles, as one trained for stability and one not, are compared line by line. ``--strip FILE`` saves frames.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fast_nst.config import CameraConfig, StylizeConfig, VideoConfig
from fast_nst.inference.camera.capture import Camera
from fast_nst.inference.camera.live import Live
from fast_nst.inference.styles import choose_style
from fast_nst.inference.stylizer import Stylizer
from fast_nst.inference.video.codecs import CODECS, CONTAINERS
from fast_nst.inference.video.pipeline import VideoRun
from fast_nst.inference.video.smoothing import TemporalSmoother
from fast_nst.inference.video.stream import Frame, VideoInfo
from fast_nst.inference.video.writing import VideoWriter
from fast_nst.io.images import Picture, find_pictures, over_white, read_picture, write_picture

NOISE = 2.0  # gray levels: a phone's sensor by day
MARGIN = 8  # pixels inside of what was in view before: interpolation reaches over the border
PAN, TURN, ZOOM = 2.3, 0.15, 1.002  # pixels, degrees and factor a frame


def camera_path(frame: int, width: int, height: int) -> NDArray[np.float64]:
    """``(3, 3)``: where a point of the first frame is in this one."""
    spin = cv2.getRotationMatrix2D((width / 2, height / 2), TURN * frame, ZOOM**frame)
    spin[:, 2] += np.array([-PAN * frame, -PAN * frame / 3])
    return np.vstack([spin, [0, 0, 1]])


def frames_of(photo: NDArray[np.uint8], count: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """``(height, width, 3)`` frames of the camera's path over a photograph, enlarged to cover it."""
    rng = np.random.default_rng(0)
    reach = PAN * count
    scale = max((width + reach) / photo.shape[1], (height + reach / 3) / photo.shape[0]) * 1.1
    large = cv2.resize(
        photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    corner = np.array([[1, 0, -0.04 * large.shape[1]], [0, 1, -0.04 * large.shape[0]], [0, 0, 1]])
    for i in range(count):
        where = (camera_path(i, width, height) @ corner)[:2]
        view = cv2.warpAffine(
            large, where, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
        )
        noisy = view + rng.normal(0, NOISE, view.shape)
        yield noisy.clip(0, 255).round().astype(np.uint8)


def error_between(before: NDArray[np.uint8], after: NDArray[np.uint8], frame: int) -> float:
    """Mean squared difference, gray levels squared, of `after` to `before` moved to where it should be."""
    height, width = after.shape[:2]
    step = camera_path(frame, width, height) @ np.linalg.inv(camera_path(frame - 1, width, height))
    moved = cv2.warpAffine(before.astype(np.float32), step[:2], (width, height), flags=cv2.INTER_CUBIC)
    inside = cv2.warpAffine(np.ones((height, width), np.float32), step[:2], (width, height)) > 0.999
    inside = cv2.erode(inside.astype(np.uint8), np.ones((2 * MARGIN + 1,) * 2)).astype(bool)
    return float(np.square(moved - after)[inside].mean())


def temporal_error(frames: list[NDArray[np.uint8]], settle: int = 3) -> float:
    """The mean of `error_between` over a video, from when a blend of frames has settled."""
    pairs = list(enumerate(itertools.pairwise(frames), start=1))[settle:]
    return statistics.fmean(error_between(before, after, i) for i, (before, after) in pairs)


def temporal(arguments: argparse.Namespace) -> None:
    width, height = arguments.size
    photos = [over_white(read_picture(p)) for p in find_pictures(arguments.photos)[: arguments.limit]]
    print(f"{len(photos)} photographs, {arguments.frames} frames of {width} x {height}", file=sys.stderr)
    print("| style | frame by frame | smoothed | lower by |\n|---|---|---|---|")
    for style in arguments.styles:
        stylize = Stylizer.load(style, precision=arguments.precision or "fp32")
        plain, smoothed = list[float](), list[float]()
        for number, photo in enumerate(photos):
            seen = list(frames_of(photo, arguments.frames, width, height))
            stylized = [stylize.pictures([Picture(frame)])[0] for frame in seen]
            smoother = TemporalSmoother(arguments.smoothing_strength)
            calm = [smoother(Picture(s), p).rgb for s, p in zip(seen, stylized, strict=True)]
            unit = temporal_error(seen)
            plain.append(temporal_error([p.rgb for p in stylized]) / unit)
            smoothed.append(temporal_error(calm) / unit)
            if arguments.strip and number == 0:
                save_strip(arguments.strip, seen, [p.rgb for p in stylized], calm)
        before, after = statistics.fmean(plain), statistics.fmean(smoothed)
        print(f"| {stylize.style} | {before:.2f} | {after:.2f} | {before / after:.2f} |", flush=True)


def save_strip(path: Path, *videos: list[NDArray[np.uint8]]) -> None:
    """Three frames that follow each other and the last, for each video a row."""
    rows = [np.hstack([video[i] for i in (-4, -3, -2, -1)]) for video in videos]
    write_picture(path, Picture(np.vstack(rows)))


def make_clip(path: Path, count: int, width: int, height: int) -> None:
    """A video of a moving pattern."""
    pattern = np.random.default_rng(0).integers(0, 256, (height // 8, width // 4, 3), dtype=np.uint8)
    wide = cv2.resize(pattern, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    info = VideoInfo(width, height, time_base=Fraction(1, 25), rate=Fraction(25))
    writer = VideoWriter(path, info, CONTAINERS[".mp4"], CODECS["h264"], overwrite=True)
    for i in range(count):
        left = 2 * i % width
        writer.write(Frame(Picture(np.ascontiguousarray(wide[:, left : left + width])), i, 1))
    writer.finish()


def run_video(style: str, source: Path, target: Path, *, smoothed: bool, precision: str = "auto") -> float:
    """Frames a second of the whole chain."""
    config = StylizeConfig(overwrite=True, video=VideoConfig(temporal_smoothing=smoothed))
    stylizer = Stylizer.load(style, precision=precision)
    started = time.perf_counter()
    with VideoRun(str(source), target, stylizer, config) as run:
        for _ in run.reports():
            pass
    return run.frames / (time.perf_counter() - started)


def rate(arguments: argparse.Namespace) -> None:
    (width, height), precision = arguments.size, arguments.precision or "auto"
    print(
        "| style | network alone, frames/s | whole chain | ratio | with --temporal-smoothing | ratio |\n"
        "|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        make_clip(clip, arguments.frames, width, height)
        for style in arguments.styles:
            stylize = Stylizer.load(style, precision=precision)
            frame = Picture(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
            stylize.pictures([frame])
            spent = []
            for _ in range(max(5, arguments.frames // 4)):
                started = time.perf_counter()
                stylize.pictures([frame])
                spent.append(time.perf_counter() - started)
            alone = 1 / statistics.median(spent)
            chain, calm = (
                run_video(style, clip, Path(folder, "out.mp4"), smoothed=s, precision=precision)
                for s in (False, True)
            )
            print(
                f"| {stylize.style} | {alone:.2f} | {chain:.2f} | {chain / alone:.2f} "
                f"| {calm:.2f} | {calm / alone:.2f} |",
                flush=True,
            )


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from peak import peak_resident
from video import run_video
run_video({style!r}, Path({clip!r}), Path({clip!r} + ".out.mp4"), smoothed={smoothed})
print(peak_resident())
"""


def memory(arguments: argparse.Namespace) -> None:
    """Peak resident memory of a process that does one video."""
    width, height = arguments.size
    print("| style | 150 frames, MiB | 1,500 frames | more |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for style in arguments.styles:
            peaks = []
            for count in (150, 1500):
                clip = str(Path(folder, f"{count}.mp4"))
                make_clip(Path(clip), count, width, height)
                code = CHILD.format(folder=str(Path(__file__).parent), style=style, clip=clip, smoothed=False)
                done = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                )
                peaks.append(float(done.stdout))
            print(f"| {style} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] - peaks[0]:+.0f} |", flush=True)


class Sixty:
    """A camera that gives 60 pictures a second, by the clock."""

    def __init__(self, width: int, height: int) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (height, width + 64, 3), dtype=np.uint8)
        self._views = [np.ascontiguousarray(noise[:, i : i + width]) for i in range(64)]
        self._due, self._count = time.monotonic(), 0

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        self._due = max(self._due + 1 / 60, time.monotonic() - 1 / 60)
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._count += 1
        return True, self._views[self._count % 64]

    def get(self, _: int) -> float:
        return 60.0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def release(self) -> None: ...


def latency(arguments: argparse.Namespace) -> None:
    """From the picture's arrival to the end of its being shown; the screen itself is not in it."""
    width, height = arguments.size
    print(
        "| style | pictures/s | latency, network pictures | left out | resident MiB, first and last |\n"
        "|---|---|---|---|---|"
    )
    for style in arguments.styles:
        camera = Camera("0", CameraConfig(), open=lambda _: Sixty(width, height))
        choice = choose_style(style)
        config = StylizeConfig(video=VideoConfig(duration=arguments.seconds))
        precision = arguments.precision or "fastest"  # as the command takes it
        live = Live(
            camera,
            [(choice.name, choice)],
            config,
            screen=None,
            load=functools.partial(Stylizer.load, precision=precision),
        )
        late, resident = list[float](), list[float]()
        for report in live.reports():
            if report.frames > 5:
                late.append(report.latency * report.rate)
                resident.append(resident_mib())
        live.close()
        if not late:
            sys.exit("fewer than 6 frames were stylized: give a larger --seconds, or a smaller --size")
        print(
            f"| {choice.name} | {report.rate:.2f} | {statistics.median(late):.2f} (max {max(late):.2f}) "
            f"| {report.dropped} | {resident[0]:.0f}, {resident[-1]:.0f} |",
            flush=True,
        )
    assert threading.active_count() < 50


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["temporal", "rate", "memory", "latency"])
    parser.add_argument("styles", nargs="*", default=["starry-night"], help="names or files")
    parser.add_argument("--photos", type=Path, help="folder of photographs, for temporal")
    parser.add_argument("--limit", type=int, default=4, help="photographs")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180, help="of the camera, for latency")
    parser.add_argument("--smoothing-strength", type=float, default=VideoConfig().smoothing_strength)
    parser.add_argument("--precision", help="default: that of the command; for temporal fp32")
    parser.add_argument(
        "--strip", type=Path, help="picture of frames to write: input, frame by frame, smoothed"
    )
    arguments = parser.parse_args()
    if arguments.what == "temporal" and arguments.photos is None:
        parser.error("temporal needs --photos FOLDER")
    {"temporal": temporal, "rate": rate, "memory": memory, "latency": latency}[arguments.what](arguments)


if __name__ == "__main__":
    main()
