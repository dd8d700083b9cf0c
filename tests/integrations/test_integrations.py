"""What other programs load: the node of ComfyUI and the Space of Hugging Face."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fast_nst import Controls, InputError, Picture, Stylizer, bundled_styles, from_uint8, to_uint8

FOLDER = Path(__file__).parents[2] / "integrations"


def loaded(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"integration_{file.parent.name.replace('-', '_')}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def comfyui(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = loaded(FOLDER / "comfyui" / "__init__.py")
    monkeypatch.setattr(module, "load_stylizer", lambda style: stylizer)
    return module


@pytest.fixture
def space(stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = loaded(FOLDER / "huggingface-space" / "app.py")
    monkeypatch.setattr(module, "load_stylizer", lambda style: stylizer)
    return module


@pytest.fixture
def images() -> torch.Tensor:
    """``(B, H, W, C)`` as ComfyUI has them."""
    return torch.rand(2, 20, 27, 3, generator=torch.Generator().manual_seed(0))


def test_the_node_stylizes_each_image_of_a_batch_as_the_library_does(
    comfyui: ModuleType, stylizer: Stylizer, images: torch.Tensor
) -> None:
    (made,) = comfyui.FastNSTStylize().stylize(images, "dots")
    assert (made.shape, made.dtype) == (images.shape, torch.float32)
    for image, result in zip(images, made, strict=True):
        expected = stylizer(Picture(to_uint8(image.permute(2, 0, 1)))).rgb
        torch.testing.assert_close(result, from_uint8(expected).permute(1, 2, 0))


@pytest.mark.parametrize("shape", [(2, 20, 27), (1, 20, 27), (20, 27), (1, 5, 9)])
def test_a_mask_leaves_the_image_where_it_is_nought(
    comfyui: ModuleType, images: torch.Tensor, shape: tuple[int, ...]
) -> None:
    mask = torch.zeros(shape)
    (made,) = comfyui.FastNSTStylize().stylize(images, "dots", mask=mask)
    torch.testing.assert_close(made, images, atol=0.51 / 255, rtol=0)
    (whole,) = comfyui.FastNSTStylize().stylize(images, "dots")
    (all_of_it,) = comfyui.FastNSTStylize().stylize(images, "dots", mask=mask + 1)
    torch.testing.assert_close(all_of_it, whole)


def test_the_node_takes_the_controls_of_the_library(
    comfyui: ModuleType, stylizer: Stylizer, images: torch.Tensor
) -> None:
    (made,) = comfyui.FastNSTStylize().stylize(images[:1], "dots", 0.5, 2.0, "photo")
    content = Picture(to_uint8(images[0].permute(2, 0, 1)))
    expected = stylizer.with_controls(Controls(0.5, 2.0, "photo"))(content).rgb
    torch.testing.assert_close(made[0], from_uint8(expected).permute(1, 2, 0))


def test_alpha_is_left_out(comfyui: ModuleType, images: torch.Tensor) -> None:
    with_alpha = torch.cat([images, torch.rand(2, 20, 27, 1)], dim=-1)
    (made,) = comfyui.FastNSTStylize().stylize(with_alpha, "dots")
    torch.testing.assert_close(made, comfyui.FastNSTStylize().stylize(images, "dots")[0])


def test_the_node_describes_itself_to_comfyui(comfyui: ModuleType) -> None:
    for name, node in comfyui.NODE_CLASS_MAPPINGS.items():
        assert callable(getattr(node, node.FUNCTION))
        assert name in comfyui.NODE_DISPLAY_NAME_MAPPINGS
        inputs = node.INPUT_TYPES()
        assert inputs["required"]["image"] == ("IMAGE",)
        assert inputs["required"]["style"] == (list(bundled_styles()),)
        assert inputs["optional"]["mask"] == ("MASK",)
        low, high = (inputs["required"]["stroke"][1][key] for key in ("min", "max"))
        Controls(stroke=low), Controls(stroke=high)


def test_the_space_stylizes_as_the_library_does(space: ModuleType, stylizer: Stylizer) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 27, 3), dtype=np.uint8)
    made = space.stylize(image, "dots", 0.5, 1.0, "match")
    expected = stylizer.with_controls(Controls(0.5, 1.0, "match"))(Picture(image)).rgb
    np.testing.assert_array_equal(made, expected)


def test_the_space_reduces_large_pictures_and_refuses_none(space: ModuleType) -> None:
    assert space.stylize(np.zeros((16, 4096, 3), np.uint8), "dots", 1, 1, "style").shape == (8, 2048, 3)
    with pytest.raises(InputError, match="choose a picture"):
        space.stylize(None, "dots", 1, 1, "style")
    with pytest.raises(InputError, match="colors"):
        space.stylize(np.zeros((8, 8, 3), np.uint8), "dots", 1, 1, "red")


def test_the_space_has_the_metadata_that_the_hub_reads() -> None:
    head = (FOLDER / "huggingface-space" / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    about = dict(re.findall(r"^(\w+): (.+)$", head, flags=re.MULTILINE))
    assert (about["sdk"], about["license"]) == ("gradio", "mit")
    assert (FOLDER / "huggingface-space" / about["app_file"]).is_file()
    assert len(about["short_description"]) <= 60


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.parent.name)
def test_an_integration_stays_short(file: Any) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) < 100
