"""A VGG-19 of random weights, as shallow as the tests need, and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fast_nst.models.vgg import VGGFeatures, layer_names


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a VGG-19 down to relu2_1, whose activations neither grow nor vanish."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vgg, names = VGGFeatures("vgg19", ["relu2_1"]), layer_names("vgg19")
        tensors = {}
        for layer in ("conv1_1", "conv1_2", "conv2_1"):
            module = vgg.body.get_submodule(layer)
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            for part, tensor in module.named_parameters():
                tensors[f"features.{names.index(layer)}.{part}"] = tensor.detach().contiguous()
    path = tmp_path_factory.mktemp("vgg") / "vgg19.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def picture() -> Callable[..., Tensor]:
    """Smooth colors, different for each seed: ``(3, H, W)`` in [0, 1]."""

    def make(seed: int, height: int = 32, width: int = 32) -> Tensor:
        coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
        scaled = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
        return scaled[0].clamp(0, 1)

    return make
