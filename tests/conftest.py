"""Fixtures that several test files share: what the quickest training needs, and the real weights."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fast_nst.config import TrainConfig

if TYPE_CHECKING:
    from fast_nst.config import TrainConfig

# Before torch is imported, here and in the processes that tests start: two test workers share two cores, and
# sums taken by several threads are not the same to the last bit in every run.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests that import onnxruntime themselves

# The same examples in every run: one at the edge of a rounding error must not fail one run in a hundred.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

if sys.platform == "win32":  # they import modules that only POSIX systems have
    collect_ignore = [
        "cli/test_stylize.py",
        "cli/test_videos.py",
        "inference/tiled/test_feature_store.py",
        "training/test_faults.py",
    ]


@pytest.fixture(autouse=True, scope="session")
def _cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What engines keep between runs stays out of the user's folder, also in processes that tests start."""
    os.environ["FAST_NST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photographs that may lie beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "weights").is_dir():
        pytest.skip(f"no real weights: there is no {folder / 'weights'}")
    return folder


@pytest.fixture(scope="session")
def benchmark() -> Callable[[str], ModuleType]:
    """Loads a module of the folder of benchmarks, by its name."""

    def load(name: str) -> ModuleType:
        return _loaded(Path(__file__).resolve().parents[1] / "benchmarks" / f"{name}.py")

    return load


def _loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def mutants() -> ModuleType:
    """The module that makes damaged and hostile model files."""
    return _loaded(Path(__file__).with_name("mutants.py"))


@pytest.fixture(scope="session")
def quick() -> list[str]:
    """Flags of the quickest training there is, for a current folder that holds a copy of the `material`."""
    flags = """--style the_waves.png --dataset photos --vgg-weights vgg.safetensors --preset tiny
    --content-layers relu1_2 --style-layers relu1_1 relu1_2 --image-size 32 --style-size 32 --batch-size 2
    --compile off --precision fp32 --device cpu --flat-share 0"""
    return flags.split()


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painting, five photographs, and the two lowest convolutions of a VGG-16 with random weights."""
    import torch
    from safetensors.torch import save_file

    from fast_nst.models.vgg import VGGFeatures, layer_names

    folder = tmp_path_factory.mktemp("material")
    (folder / "photos").mkdir()
    for i, name in enumerate(["the_waves.png", *(f"photos/{i}.png" for i in range(5))]):
        coarse = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 40), Image.Resampling.BICUBIC).save(folder / name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = VGGFeatures("vgg16", ["relu1_2"]).body
    names = layer_names("vgg16")
    tensors = {
        f"features.{names.index(layer)}.{part}": tensor.detach().contiguous()
        for layer in ("conv1_1", "conv1_2")
        for part, tensor in body.get_submodule(layer).named_parameters()
    }
    save_file(tensors, folder / "vgg.safetensors")
    return folder


@pytest.fixture
def config(material: Path, quick: list[str], tmp_path: Path) -> TrainConfig:
    """A `TrainConfig` of the quick flags: eight steps, each reported, into folders of the test's own."""
    return _quick_config(material, quick, tmp_path)


@pytest.fixture(scope="module")
def plain_config(material: Path, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """As `config`, into folders that all tests of a module share."""
    return _quick_config(material, quick, tmp_path_factory.mktemp("plain"))


def _quick_config(material: Path, quick: list[str], folder: Path) -> TrainConfig:
    from fast_nst.cli.parsing import parse
    from fast_nst.config import TrainConfig

    flags = [*quick, "--steps", "8", "--warmup", "2", "--report-every", "1"]
    return replace(
        parse(TrainConfig, flags, prog="test", description=""),
        style=material / "the_waves.png",
        dataset=str(material / "photos"),
        vgg_weights=material / "vgg.safetensors",
        out=folder / "style.safetensors",
        run=folder / "run",
    )


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Makes a video of FFmpeg's test pictures; see the arguments."""

    def make(
        name: str,
        *,
        size: tuple[int, int] = (64, 48),
        rate: Fraction | int = 25,
        frames: int = 10,
        times: Sequence[int] | None = None,
        time_base: Fraction | None = None,
        codec: str = "libx264",
        pixels: str = "yuv420p",
        options: dict[str, str] | None = None,
        sound: Sequence[str] = (),
        late: int = 0,
        subtitles: bool = False,
        chapters: Sequence[tuple[int, int, str]] = (),
        rotation: int = 0,
        transfer: int | None = None,
        picture: Callable[[int], NDArray[Any]] | None = None,
    ) -> Path:
        """``times`` in units of ``time_base``; sound begins ``late`` milliseconds; chapters in milliseconds.

        ``picture`` gives the frames instead, ``(H, W, 3 or 4)`` uint8.
        """
        import av

        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = av.open(f"testsrc2=size={max(size[0], 8)}x{max(size[1], 8)}:rate=25", format="lavfi")
        base = time_base or 1 / Fraction(rate)
        with av.open(str(path), "w") as container:
            video = container.add_stream(codec, rate=Fraction(rate), options=options or {})
            video.width, video.height, video.pix_fmt = *size, pixels
            video.time_base = video.codec_context.time_base = base
            if rotation:
                video.set_display_rotation(rotation)
            if transfer is not None:
                video.codec_context.color_trc = transfer
            tracks = [container.add_stream(kind, rate=44100) for kind in sound]
            for track, language in zip(tracks, ("deu", "fra", "ita"), strict=False):
                track.metadata["language"] = language
            lines, words = _subtitles(tmp_path, container) if subtitles else ([], None)
            container.set_chapters(
                [
                    {
                        "id": i,
                        "start": a,
                        "end": b,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": title},
                    }
                    for i, (a, b, title) in enumerate(chapters, start=1)
                ]
            )
            shown = source.decode(video=0)
            for i, time in enumerate(times if times is not None else range(frames)):
                if picture is None:
                    raw = next(shown).reformat(*size, pixels)
                else:
                    array = picture(i)
                    raw = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
                    raw = raw.reformat(format=pixels)
                raw.pts, raw.time_base = time, base
                container.mux(video.encode(raw))
            container.mux(video.encode(None))
            for track in tracks:
                _hum(container, track, late)
            for packet in lines:
                packet.stream = words
                container.mux(packet)
        return path

    return make


def _hum(video: Any, track: Any, late: int) -> None:
    import av

    shift = late * 44100 // 1000
    for heard in av.open("sine=frequency=440:sample_rate=44100:duration=0.4", format="lavfi").decode(audio=0):
        heard.pts = heard.pts + shift
        video.mux(track.encode(heard))
    video.mux(track.encode(None))


def _subtitles(folder: Path, video: Any) -> tuple[list[Any], Any]:
    import av

    text = folder / "words.srt"
    text.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello there\n\n")
    source = av.open(str(text))
    words = video.add_stream_from_template(source.streams.subtitles[0], opaque=True)
    return [packet for packet in source.demux() if packet.size], words
