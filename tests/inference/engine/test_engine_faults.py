"""What must not happen in silence: another thread's image, an old result, NaN as a color, a hang."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_nst.config import PRESETS
from fast_nst.errors import InputError
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture, from_uint8
from fast_nst.models.checkpoint import Checkpoint, save_checkpoint
from fast_nst.models.transform_net import TransformNet

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"openvino": ("openvino", "onnx"), "onnx": ("onnxruntime", "onnx")}
SIZES = [(24, 32), (40, 24), (33, 47)]


@pytest.fixture(params=["torch", "openvino", "onnx"])
def backend(request: pytest.FixtureRequest) -> str:
    for name in MODULES.get(request.param, ()):
        pytest.importorskip(name, reason=f"{name} is not installed; the extra {request.param} brings it")
    return request.param


def network() -> TransformNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = replace(PRESETS["default"], widths=(8, 8, 16), blocks=1)
        return TransformNet(config).eval().requires_grad_(False)


def noise(height: int, width: int, seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_eight_threads_and_three_sizes_each_get_their_own_image(backend: str) -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend, precision="fp32")
    images = [noise(*SIZES[seed % 3], seed) for seed in range(24)]
    alone = [stylize(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        arrays = list(threads.map(stylize, images))
        tensors = list(threads.map(lambda image: stylize(from_uint8(image)), images))
        pictures = list(threads.map(lambda image: stylize.pictures([Picture(image)])[0].rgb, images))
    for expected, *found in zip(alone, arrays, pictures, strict=True):
        for made in found:
            assert made.shape == expected.shape
            assert np.abs(made.astype(int) - expected).max() <= 1
    for expected, made in zip(alone, tensors, strict=True):
        levels = made.permute(1, 2, 0).mul(255).round().numpy()
        assert np.abs(levels - expected).max() <= 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    "layer", ["body.conv1.conv.weight", "body.conv4.conv.weight", "body.conv4.conv.bias"]
)
def test_a_network_with_a_weight_that_is_not_finite_makes_no_image(
    backend: str, layer: str, value: float
) -> None:
    broken = network()
    dict(broken.named_parameters())[layer].view(-1)[0] = value
    with pytest.raises(InputError, match=rf"the network holds NaN or infinity in {layer}"):
        Stylizer(Checkpoint(broken, {}), device="cpu", backend=backend)


def test_a_result_that_is_not_finite_is_an_error_in_every_way_to_ask_for_it(backend: str) -> None:
    overflowing = network()
    overflowing.body.conv4.conv.weight.fill_(3e38)
    stylize = Stylizer(Checkpoint(overflowing, {}), device="cpu", backend=backend)
    for image in (noise(24, 24, 0), from_uint8(noise(24, 24, 0)), Picture(noise(24, 24, 0))):
        with pytest.raises(InputError, match=r"not finite|NaN|infinity"):
            stylize(image)
    with pytest.raises(InputError, match=r"not finite|NaN|infinity"):
        stylize.in_bands(Picture(noise(40, 24, 0)), rows=7)


def test_an_array_that_is_read_only_is_stylized_too(backend: str) -> None:
    """Such as numpy's view of a Pillow image."""
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    images = noise(24, 32, 0)[None]
    expected = stylize.run_uint8(images.copy())
    images.flags.writeable = False
    assert np.array_equal(stylize.run_uint8(images), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_image_that_is_not_finite_is_refused(backend: str, value: Any) -> None:
    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend=backend)
    image = torch.rand(3, 16, 16)
    image[1, 2, 3] = value
    with pytest.raises(InputError, match="not finite"):
        stylize(image)


FORK = """
import os, sys, signal, warnings
import numpy as np
warnings.simplefilter("ignore")
from fast_nst.inference.stylizer import Stylizer
image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
for engine in sys.argv[2:]:
    stylize = Stylizer.load(sys.argv[1], device="cpu", backend=engine)
    expected = stylize(image)
    child = os.fork()
    if child == 0:
        made = stylize(image)
        os._exit(0 if np.abs(made.astype(int) - expected).max() <= 1 else 7)
    signal.alarm(60)
    _, status = os.waitpid(child, 0)
    again = stylize(image)
    near = np.abs(again.astype(int) - expected).max() <= 1
    print(engine, os.waitstatus_to_exitcode(status), near, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_stylizes_too_and_so_does_its_parent(tmp_path: Path) -> None:
    engines = ["torch", *(name for name, modules in MODULES.items() if all(map(find_spec, modules)))]
    style = tmp_path / "style.safetensors"
    save_checkpoint(style, network(), {"style": "dots", "steps": 1})
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(style), *engines],
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.splitlines() == [f"{name} 0 True" for name in engines], done.stderr


INTERRUPTED = """
import random, signal, sys
import numpy as np

from fast_nst.inference.stylizer import Stylizer

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
stylize = Stylizer.load(sys.argv[1], backend=sys.argv[2], device="cpu", precision="fp32")
image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
whole = stylize(image)
for _ in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 4e-3))
        stylize(image)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    memory = [np.full(size, 7, np.uint8) for size in range(20_000, 40_000, 1000)]  # where results were
    assert all((block == 7).all() for block in memory)
assert np.array_equal(stylize(image), whole)
print("whole")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="this system has no interval timer")
def test_interrupted_runs_leave_memory_alone_and_the_next_one_is_whole(backend: str, tmp_path: Path) -> None:
    style = tmp_path / "style.safetensors"
    save_checkpoint(style, network(), {"style": "noise"})
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(style), backend],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backend": "nonsense"}, "nonsense.*torch.*openvino"),
        ({"precision": "half"}, "half.*fp16"),
        ({"device": "toaster"}, "toaster"),
    ],
)
def test_an_unknown_choice_is_one_error_that_names_the_known_ones(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Stylizer(Checkpoint(network(), {}), **options)


def test_what_comes_in_decides_what_comes_back(tmp_path: Path) -> None:
    from PIL import Image

    stylize = Stylizer(Checkpoint(network(), {}), device="cpu", backend="torch")
    array = noise(20, 24, 3)
    expected = stylize(array)
    assert isinstance(expected, np.ndarray) and expected.shape == array.shape
    Image.fromarray(array).save(tmp_path / "a.png")
    for image in (Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png")):
        made = stylize(image)
        assert isinstance(made, Image.Image)
        np.testing.assert_array_equal(np.asarray(made), expected)
    result = stylize(Picture(array))
    assert isinstance(result, Picture)
    np.testing.assert_array_equal(result.rgb, expected)
    with pytest.raises(InputError, match=r"got values from .* scale them"):
        stylize(from_uint8(array) * 255)
    with pytest.raises(InputError, match="got list"):
        stylize([1, 2, 3])
