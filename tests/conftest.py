"""Fixtures that several test files share: what the quickest training needs, and the real weights."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Before torch is imported, here and in the processes that tests start: two test workers share two cores, and
# sums taken by several threads are not the same to the last bit in every run.
os.environ["OMP_NUM_THREADS"] = "1"


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
def quick() -> list[str]:
    """Flags of the quickest training there is, for a current folder that holds a copy of the `material`."""
    flags = """--style the_waves.png --dataset photos --vgg-weights vgg.safetensors --preset tiny
    --content-layers relu1_2 --style-layers relu1_1 relu1_2 --image-size 32 --style-size 32 --batch-size 2
    --compile off --precision fp32 --device cpu"""
    return flags.split()


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A painting, five photographs, and the two lowest convolutions of a VGG-16 with random weights."""
    import torch
    from safetensors.torch import save_file

    from fast_nst.vgg import VGGFeatures, layer_names

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
def config(material: Path, quick: list[str], tmp_path: Path):
    """A `TrainConfig` of the quick flags: eight steps, each reported, into folders of the test's own."""
    from fast_nst.cli.parsing import parse
    from fast_nst.config import TrainConfig

    flags = [*quick, "--steps", "8", "--warmup", "2", "--report-every", "1"]
    return replace(
        parse(TrainConfig, flags, prog="test", description=""),
        style=material / "the_waves.png",
        dataset=str(material / "photos"),
        vgg_weights=material / "vgg.safetensors",
        out=tmp_path / "style.safetensors",
        run=tmp_path / "run",
    )
