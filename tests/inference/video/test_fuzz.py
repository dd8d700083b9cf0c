"""Damaged videos: each is a result or one line that says what is wrong, within seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fast_nst.config import StylizeConfig
from fast_nst.inference.batch.jobs import Job
from fast_nst.inference.batch.results import Result
from fast_nst.inference.batch.run import run_jobs
from fast_nst.inference.stylizer import Stylizer

KINDS: dict[str, dict[str, object]] = {
    "a.mp4": {"sound": ["aac"]},
    "b.mkv": {"sound": ["aac"], "subtitles": True, "chapters": [(0, 100, "one")]},
    "c.webm": {"codec": "libvpx-vp9", "pixels": "yuva420p"},
    "d.avi": {"codec": "mpeg4", "sound": ["libmp3lame"]},
    "e.mov": {"codec": "prores_ks", "pixels": "yuv422p10le"},
    "f.ts": {"codec": "mpeg2video", "sound": ["aac"]},
    "g.flv": {"codec": "flv"},
    "h.mp4": {"codec": "libx265", "rotation": 90},
    "i.gif": {},
    "j.webp": {},
}
SECONDS = 20  # a mutant takes a tenth of a second here; what hangs takes for ever


def animation(path: Path) -> Path:
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)) for _ in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
    return path


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage of one of the kinds that disks, networks and fuzzers do."""
    out, size = bytearray(data), len(data)
    start = int(rng.integers(size) if rng.random() < 0.5 else rng.integers(min(size, 1000)))
    length = int(rng.integers(1, 64))
    match rng.integers(8):
        case 0:  # cut off
            return bytes(out[: max(1, start)])
        case 1:  # single bits
            for place in rng.integers(size, size=length):
                out[place] ^= 1 << int(rng.integers(8))
        case 2:  # bits of the header
            for place in rng.integers(min(size, 600), size=8):
                out[place] ^= 1 << int(rng.integers(8))
        case 3:  # noise
            out[start : start + length] = rng.bytes(length)
        case 4:  # the largest and smallest numbers
            out[start : start + 4] = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0" * 4, b"\x80\0\0\0"][
                rng.integers(4)
            ]
        case 5:  # a hole
            del out[start : start + length]
        case 6:  # a piece twice
            out[start:start] = out[start : start + length]
        case _:  # a piece from elsewhere
            other = int(rng.integers(size))
            out[start : start + length] = out[other : other + length]
    return bytes(out)


@pytest.fixture
def originals(clip: Callable[..., Path], tmp_path: Path) -> list[Path]:
    return [
        animation(tmp_path / name)
        if name.endswith(("gif", "webp"))
        else clip(name, frames=6, size=(32, 24), **options)
        for name, options in KINDS.items()
    ]


def check_mutants(originals: list[Path], stylizer: Stylizer, seeds: range) -> None:
    folder = originals[0].parent
    for seed in seeds:
        original = originals[seed % len(originals)]
        source, target = folder / f"mutant{original.suffix}", folder / f"out{original.suffix}"
        if target.suffix in (".avi", ".ts", ".flv"):
            target = target.with_suffix(".mkv")
        source.write_bytes(mutated(original.read_bytes(), np.random.default_rng(seed)))
        started = time.monotonic()
        config = StylizeConfig(overwrite=True, max_pixels=1_000_000)
        *_, result = run_jobs([Job(str(source), str(target), video=True)], stylizer, config)
        assert time.monotonic() - started < SECONDS, seed
        assert isinstance(result, Result)
        assert "internal error" not in str(result.error), (seed, original, result.traceback)
        assert result.error is None or result.error.isprintable(), seed
        assert not result.error or result.error.startswith((str(source), str(target))), (seed, result.error)
        assert (result.error is None) == target.exists(), seed
        for path in (target, folder / f"out.partial{target.suffix}"):
            path.unlink(missing_ok=True)
        assert not [path for path in folder.iterdir() if path.name.startswith(".")], seed


@pytest.mark.timeout(120)
def test_a_damaged_video_is_a_result_or_one_line(originals: list[Path], stylizer: Stylizer) -> None:
    check_mutants(originals, stylizer, range(60))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", range(4))
def test_four_hundred_damaged_videos_are_results_or_one_line_each(
    originals: list[Path], stylizer: Stylizer, part: int
) -> None:
    check_mutants(originals, stylizer, range(1000 + 100 * part, 1100 + 100 * part))
