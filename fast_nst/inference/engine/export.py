"""Trained styles as files for other programs: ONNX, PyTorch's pt2, OpenVINO.

Batch, height and width are dynamic, down to one pixel; what the file was made from is written into it. A file
is run on three pictures before it gets its name, and is not left behind if it paints anything but our own.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.errors import InputError
from fast_nst.inference.engine.folded_net import FoldedNet, plan_of
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.padding import MIN_SIZE, whole
from fast_nst.system.openvino import openvino

if TYPE_CHECKING:
    from fast_nst.inference.engine.graph import Pixels

__all__ = ["ENDINGS", "export_style"]

Format = Literal["onnx", "pt2", "openvino"]
ENDINGS: dict[str, str] = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml"}
# Sides that are multiples of the network's stride, that are not, and that are below its least size.
SHAPES = ((2, 64, 48), (1, 37, 51), (1, 5, 30))
# Engines add up in their own order. A gray level, where rounding may fall to either side; a quarter of one.
TOLERANCE: dict[Pixels, float] = {"uint8": 1.0, "float": 1e-3}

Runner = Callable[[NDArray[Any]], NDArray[Any]]


def export_style(
    style: Path, out: Path, format: Format, *, pixels: Pixels = "float", overwrite: bool = False
) -> list[Path]:
    """Write a style in another format; returns the files, of which OpenVINO's has two.

    Args:
        style: a checkpoint.
        out: the file to write; for OpenVINO the .xml, beside which a .bin is written.
        pixels: ``float``: ``(B, 3, H, W)`` RGB in [0, 1], clipped; ``uint8``: ``(B, H, W, 3)`` RGB levels.

    Raises:
        CheckpointError: the style cannot be used.
        InputError: a file is in the way, a package is missing, or the result does not paint what it should.
    """
    if out.suffix != ENDINGS[format]:
        raise InputError(f"{out}: a file of format {format} ends in {ENDINGS[format]}")
    targets = [out, out.with_suffix(".bin")] if format == "openvino" else [out]
    for target in targets:
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists; give --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}; create it first")
    checkpoint = load_checkpoint(style)
    net = FoldedNet(plan_of(checkpoint.network))
    with tempfile.TemporaryDirectory(prefix=".fast-nst-", dir=out.parent) as folder:
        partial = Path(folder) / out.name
        try:
            run = _WRITERS[format](partial, net, checkpoint.about, pixels)
        except ModuleNotFoundError as error:
            raise InputError(
                f"--format {format} needs the package {error.name}; pip install 'fast-nst[{format}]'"
            ) from None
        _check(run, net, pixels, out)
        for target in targets:
            (Path(folder) / target.name).replace(target)
    return targets


def _check(run: Runner, net: FoldedNet, pixels: Pixels, out: Path) -> None:
    """Run the file as its user will, beside our own network."""
    random = np.random.default_rng(0)
    for batch, height, width in SHAPES:
        levels = random.integers(0, MAX_LEVEL + 1, (batch, height, width, 3), dtype=np.uint8)
        module, given = _Painter(net, pixels), torch.from_numpy(levels)
        if pixels == "float":
            given = (given.float() / MAX_LEVEL).permute(0, 3, 1, 2).contiguous()
        expected, found = module(given).numpy(), run(given.numpy())
        error = np.abs(found.astype(np.float64) - expected).max() if found.shape == expected.shape else np.inf
        if not error <= TOLERANCE[pixels]:
            raise InputError(
                f"{out} is not written: at {width} x {height} it differs from our own result by {error:g}, "
                f"more than {TOLERANCE[pixels]:g}; another version of the packages may do better"
            )


class _Painter(nn.Module):
    """A folded network with its pixels, as pt2 holds it."""

    def __init__(self, net: FoldedNet, pixels: Pixels) -> None:
        super().__init__()
        self.net, self.pixels = net, pixels

    def forward(self, images: Tensor) -> Tensor:
        """See `export_style`."""
        if self.pixels == "uint8":
            images = images.permute(0, 3, 1, 2).float() / MAX_LEVEL
        h, w = images.shape[-2:]
        margin, stride = self.net.plan.frame(MIN_SIZE, MIN_SIZE).left, whole(self.net.plan.config)
        for axis, size in ((2, h), (3, w)):
            images = images.index_select(axis, _walk(size, margin, stride, images.device))
        painted = self.net.paint(images)
        # By index and not by slice, which torch.export takes for a promise about sizes.
        for axis, size in ((2, h), (3, w)):
            painted = painted.index_select(axis, torch.arange(size, device=images.device))
        painted = painted.clamp(0, 1)
        if self.pixels == "float":
            return painted
        return (painted * MAX_LEVEL).round().to(torch.uint8).permute(0, 2, 3, 1)


def _walk(size: int, margin: int, stride: int, device: torch.device) -> Tensor:
    """`fast_nst.models.padding.mirrored` for a size that is known only when the file is run."""
    end = torch.sym_max((size + stride - 1) // stride * stride, MIN_SIZE) + margin
    period = torch.sym_max(2 * size - 2, 1)
    index = torch.remainder(torch.arange(-margin, end, device=device), period)
    return torch.minimum(index, torch.rsub(index, period))


def _write_pt2(path: Path, net: FoldedNet, about: Mapping[str, Any], pixels: Pixels) -> Runner:
    from torch.export import Dim, export, load, save

    axes = (1, 2) if pixels == "uint8" else (2, 3)
    shape = [2, 3, 3, 3]
    for axis, size in zip(axes, (64, 48), strict=True):
        shape[axis] = size
    example = torch.zeros(shape, dtype=torch.uint8 if pixels == "uint8" else torch.float32)
    sizes = {0: Dim.DYNAMIC, axes[0]: Dim.DYNAMIC, axes[1]: Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(_Painter(net, pixels), (example,), dynamic_shapes={"images": sizes})
        save(program, path, extra_files={"fast_nst.json": json.dumps(dict(about), sort_keys=True)})
        painter = load(path).module()
    return lambda array: np.asarray(painter(torch.from_numpy(array)))


def _write_onnx(path: Path, net: FoldedNet, about: Mapping[str, Any], pixels: Pixels) -> Runner:
    import onnxruntime

    from fast_nst.inference.engine.graph import build_graph

    path.write_bytes(build_graph(net.plan, about, pixels=pixels).SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda array: np.asarray(session.run(None, {name: array})[0])


def _write_openvino(path: Path, net: FoldedNet, about: Mapping[str, Any], pixels: Pixels) -> Runner:
    from fast_nst.inference.engine.graph import build_graph

    core = openvino().Core()
    graph = build_graph(net.plan, about, pixels=pixels, norms="apart")
    model = core.read_model(graph.SerializeToString())
    told = {"fast_nst": json.dumps(dict(about), sort_keys=True), "pixels": pixels, "colors": "RGB"}
    for name, words in told.items():
        model.set_rt_info(words, ["fast_nst", name])
    openvino().save_model(model, path, compress_to_fp16=False)
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda array: np.asarray(compiled([array])[0])


_WRITERS = {"onnx": _write_onnx, "pt2": _write_pt2, "openvino": _write_openvino}
