"""``stylize.py 0``: the camera, live."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from fast_nst.cli.common import DONE, FAILED, put, say
from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError, one_line
from fast_nst.inference.camera.capture import Camera, CameraError
from fast_nst.inference.camera.live import Live
from fast_nst.inference.camera.view import KEYS, Screen, Window
from fast_nst.inference.layers import open_stylizer
from fast_nst.inference.styles import StyleChoice, bundled_choices
from fast_nst.inference.video.codecs import container_of

__all__ = ["show"]

_SECONDS_BETWEEN_LINES = 10.0


def show(source: str, style: StyleChoice, config: StylizeConfig) -> int:
    """Stylize the camera until it ends; returns the exit code."""
    _check(config)
    if config.precision == "auto":  # nothing of it is kept for long, and every frame counts
        config = replace(config, precision="fastest")
    others = [choice for choice in bundled_choices() if choice.name != style.name]
    loaded = open_stylizer(style, config)
    say(f"{style.name}, {loaded}")
    screen: Screen | None = Window(f"fast-nst: {source}") if config.camera.window else None
    if screen is not None:
        say(", ".join(f"{key} {what}" for key, what in KEYS.items()))
    live = Live(
        Camera(source, config.camera),
        [(choice.name, choice) for choice in (style, *others)],
        config,
        screen=screen,
        load=lambda choice: loaded if choice is style else open_stylizer(choice, config),
    )
    try:
        _run(live)
    except CameraError as error:
        say(f"error: {one_line(error)}")
        return FAILED
    finally:
        for note in live.close():
            say(note)
    if config.out is not None and os.path.lexists(config.out):
        put(config.out)
    return DONE


def _run(live: Live) -> None:
    last, report = time.monotonic(), None
    for report in live.reports():
        for note in report.notes:
            say(one_line(InputError(note)))
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{report.frames} frames, {report.rate:.1f} a second, {1e3 * report.latency:.0f} ms latency")
    if report is not None:
        say(f"{report.frames} frames shown, {report.dropped} dropped")


def _check(config: StylizeConfig) -> None:
    """Refuse, before the camera is opened, a run without an output."""
    if config.out is None:
        if not config.camera.window and not config.camera.virtual_camera:
            raise InputError("--no-window needs an output: --out live.mp4, or --virtual-camera")
        return
    if os.path.isdir(config.out) or config.out.endswith(("/", os.sep)) or not config.out:
        raise InputError(f"--out {config.out}: the camera needs a file, such as live.mp4")
    container_of(config.out, config.format)
    if os.path.lexists(config.out) and not config.overwrite:
        raise InputError(f"{config.out} exists; give --overwrite")
