"""Export trained styles as files for other programs: ONNX, PyTorch's pt2, OpenVINO.

Batch, height and width are dynamic, down to one pixel, or fixed; the checkpoint's metadata is written into
the file. What is exported is run beside our own network first and written only if the results agree; files
are written whole or not at all.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fast_nst.config import GalleryNetConfig
from fast_nst.errors import InputError, first_line
from fast_nst.inference.engine.folded_net import FoldedNet, arrays_of
from fast_nst.inference.networks import TrainedStyle, trained_style
from fast_nst.inference.styles import Mixture, StyleChoice, mix_rows
from fast_nst.io.files import AtomicFile, write_reason
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.padding import MIN_SIZE, least_size, reflected_indices, size_multiple
from fast_nst.system.extras import how_to_install
from fast_nst.system.onnxruntime import onnxruntime
from fast_nst.system.openvino import openvino

if TYPE_CHECKING:
    from fast_nst.inference.engine.graph import Pixels

__all__ = ["ENDINGS", "Size", "checked_sizes", "export_style"]

Format = Literal["onnx", "pt2", "openvino"]
ENDINGS: dict[str, str] = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml"}
Size = tuple[int, int]
# Batch, height and width: multiples of the network's stride, not multiples, and below its smallest size.
SHAPES = ((2, 64, 48), (1, 37, 51), (1, 5, 30))
# Engines sum in their own order. A gray level, where rounding may fall to either side; a quarter of one.
TOLERANCE: dict[Pixels, float] = {"uint8": 1.0, "float": 1e-3}

Runner = Callable[[NDArray[Any]], NDArray[Any]]
# The files of an export by their endings, and a function that runs them.
_Export = tuple[dict[str, bytes], Runner]


def export_style(
    style: Path | StyleChoice,
    out: Path,
    format: Format,
    *,
    pixels: Pixels = "float",
    fixed_size: Size | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write a style in another format; returns the files, of which OpenVINO has two.

    Args:
        style: a checkpoint, or what `choose_style` gives; of a gallery without weights all styles are
            written, as ONNX, to be mixed by a second input, see `gallery_graph`.
        out: the file to write; for OpenVINO the .xml, beside which a .bin is written.
        pixels: ``float``: ``(B, 3, H, W)`` RGB in [0, 1], clipped; ``uint8``: ``(B, H, W, 3)`` RGB levels.
        fixed_size: height and width of the only image it takes, with B = 1, for programs without dynamic
            sizes: OpenCV's DNN module, converters to Core ML. OpenCV 5.0 computes k x 1 convolutions wrongly,
            as the last layer of a dynamic export is; in a fixed one that layer is k x k.

    Raises:
        CheckpointError: the style cannot be used.
        InputError: a file is in the way, a package is missing, or the results do not agree.
        OSError: a file cannot be written; the message names it, and none is left behind.
    """
    targets = _checked_targets(out, format, overwrite)
    if isinstance(style, Path):
        style = StyleChoice(style, style.stem)
    trained = trained_style(style.file)
    mixture = None if style.weights is None else mix_rows(trained.rows, style.weights)
    whole = bool(trained.rows) and mixture is None
    if whole and (format != "onnx" or fixed_size):
        raise InputError("a gallery as a whole is exported as ONNX for any size; or name one of its styles")
    if whole:  # what is exported is run in one of its styles
        mixture = mix_rows(trained.rows, {next(row.style for row in trained.rows if row.style): 1.0})
    net = FoldedNet(trained.plan(mixture))
    try:
        if whole and mixture is not None:
            files, run = _make_gallery(trained, mixture, pixels)
        else:
            files, run = _WRITERS[format](net, trained.metadata, pixels, fixed_size)
    except ModuleNotFoundError as error:
        raise InputError(
            f"--format {format} needs the package {error.name}: {how_to_install(format)}"
        ) from None
    _check(run, net, pixels, fixed_size, out)
    _write({out.with_suffix(ending): data for ending, data in files.items()})
    return targets


def _checked_targets(out: Path, format: Format, overwrite: bool) -> list[Path]:
    """The files of an export; refuses, before any work, what cannot be written."""
    if out.suffix != ENDINGS[format]:
        raise InputError(f"{out}: a file of format {format} ends in {ENDINGS[format]}")
    targets = [out, out.with_suffix(".bin")] if format == "openvino" else [out]
    for target in targets:
        if target.exists() and not overwrite:
            raise InputError(f"{target} exists; give --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}; create it first")
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(13, write_reason(PermissionError(), out), str(out))
    return targets


def checked_sizes(fixed_size: Size | None) -> list[Size]:
    """Heights and widths at which an export is compared with our own network."""
    return [fixed_size] if fixed_size else [(height, width) for _, height, width in SHAPES]


def _write(files: Mapping[Path, bytes]) -> None:
    """All files, or none.

    Raises:
        OSError: names the file that cannot be written.
    """
    with ExitStack() as stack:
        for path, data in files.items():
            try:
                whole_file = AtomicFile(path)
                stack.enter_context(whole_file)
                whole_file.file.write(data)
                whole_file.file.flush()  # before any of them gets its name
            except OSError as error:
                raise OSError(error.errno, write_reason(error, path), str(path)) from None


def _check(run: Runner, net: FoldedNet, pixels: Pixels, size: Size | None, out: Path) -> None:
    """Run the export as its user will, beside our own network."""
    random = np.random.default_rng(0)
    for batch, height, width in [(1, *size)] if size else SHAPES:
        levels = random.integers(0, MAX_LEVEL + 1, (batch, height, width, 3), dtype=np.uint8)
        module, given = _ExportNet(net, pixels), torch.from_numpy(levels)
        if pixels == "float":
            given = (given.float() / MAX_LEVEL).permute(0, 3, 1, 2).contiguous()
        expected, found = module(given).numpy(), run(given.numpy())
        error = np.abs(found.astype(np.float64) - expected).max() if found.shape == expected.shape else np.inf
        if not error <= TOLERANCE[pixels]:
            raise InputError(
                f"{out} is not written: at {width} x {height} it differs from our own result by {error:g}, "
                f"more than {TOLERANCE[pixels]:g}; another version of the packages may do better"
            )


class _ExportNet(nn.Module):
    """A folded network with its pixel format, as pt2 holds it.

    Args:
        size: height and width, where they are fixed: all positions are constants then.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, net: FoldedNet, pixels: Pixels, size: Size | None = None) -> None:
        super().__init__()
        self.net, self.pixels, self.size = net, pixels, size
        if size is not None:
            left, right, top, bottom = net.plan.padding(*size)
            self.is_padded = any((left, right, top, bottom))
            self.register_buffer("rows", torch.from_numpy(reflected_indices(size[0], top, bottom)))
            self.register_buffer("columns", torch.from_numpy(reflected_indices(size[1], left, right)))

    def forward(self, images: Tensor) -> Tensor:
        """See `export_style`."""
        if self.pixels == "uint8":
            images = images.permute(0, 3, 1, 2).float() / MAX_LEVEL
        out = self._dynamic(images) if self.size is None else self._fixed(images, *self.size)
        out = out.clamp(0, 1)
        if self.pixels == "float":
            return out
        return (out * MAX_LEVEL).round().to(torch.uint8).permute(0, 2, 3, 1)

    def _fixed(self, images: Tensor, height: int, width: int) -> Tensor:
        if not self.is_padded:
            return self.net.run_padded(images)
        padded = images.index_select(2, self.rows).index_select(3, self.columns)
        return self.net.run_padded(padded)[:, :, :height, :width]

    def _dynamic(self, images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        config = self.net.plan.config
        margin, stride = self.net.plan.padding(MIN_SIZE, MIN_SIZE).left, size_multiple(config)
        least = least_size(config)
        for axis, size in ((2, h), (3, w)):
            images = images.index_select(axis, _padded_indices(size, margin, stride, least, images.device))
        out = self.net.run_padded(images)
        # By index and not by slice, which torch.export takes for a promise about sizes.
        for axis, size in ((2, h), (3, w)):
            out = out.index_select(axis, torch.arange(size, device=images.device))
        return out


def _padded_indices(size: int, margin: int, stride: int, least: int, device: torch.device) -> Tensor:
    """`fast_nst.models.padding.reflected_indices` for a size that is known only when the file is run."""
    end = torch.sym_max((size + stride - 1) // stride * stride, least) + margin
    period = torch.sym_max(2 * size - 2, 1)
    index = torch.remainder(torch.arange(-margin, end, device=device), period)
    return torch.minimum(index, torch.rsub(index, period))


def _make_pt2(net: FoldedNet, metadata: Mapping[str, Any], pixels: Pixels, size: Size | None) -> _Export:
    from torch.export import Dim, export, load, save

    axes = (1, 2) if pixels == "uint8" else (2, 3)
    shape = [1 if size else 2, 3, 3, 3]
    for axis, side in zip(axes, size or (64, 48), strict=True):
        shape[axis] = side
    example = torch.zeros(shape, dtype=torch.uint8 if pixels == "uint8" else torch.float32)
    dynamic = None if size else {"images": {0: Dim.DYNAMIC, axes[0]: Dim.DYNAMIC, axes[1]: Dim.DYNAMIC}}
    file = io.BytesIO()  # a full disk under torch's own writer aborts the process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(_ExportNet(net, pixels, size), (example,), dynamic_shapes=dynamic)
        save(program, file, extra_files={"fast_nst.json": json.dumps(dict(metadata), sort_keys=True)})
        module = load(io.BytesIO(file.getvalue())).module()
    return {".pt2": file.getvalue()}, lambda array: np.asarray(module(torch.from_numpy(array)))


def _make_gallery(trained: TrainedStyle, mixture: Mixture, pixels: Pixels) -> _Export:
    from fast_nst.inference.engine.gallery_graph import WEIGHTS, build_gallery_graph

    assert isinstance(trained.config, GalleryNetConfig)
    tensors = arrays_of(trained.load().network)
    graph = build_gallery_graph(trained.config, tensors, trained.metadata, pixels=pixels)
    data: bytes = graph.SerializeToString()
    session = onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return {".onnx": data}, lambda array: np.asarray(
        session.run(None, {name: array, WEIGHTS: mixture.rows})[0]
    )


def _make_onnx(net: FoldedNet, metadata: Mapping[str, Any], pixels: Pixels, size: Size | None) -> _Export:
    from fast_nst.inference.engine.graph import build_graph

    data: bytes = build_graph(net.plan, metadata, pixels=pixels, size=size).SerializeToString()
    session = onnxruntime().InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return {".onnx": data}, lambda array: np.asarray(session.run(None, {name: array})[0])


def _make_openvino(net: FoldedNet, metadata: Mapping[str, Any], pixels: Pixels, size: Size | None) -> _Export:
    from fast_nst.inference.engine.graph import build_graph

    core = openvino().Core()
    graph = build_graph(net.plan, metadata, pixels=pixels, norms="apart", size=size)
    model = core.read_model(graph.SerializeToString())
    entries = {"fast_nst": json.dumps(dict(metadata), sort_keys=True), "pixels": pixels, "colors": "RGB"}
    for name, text in entries.items():
        model.set_rt_info(text, ["fast_nst", name])
    with tempfile.TemporaryDirectory(prefix="fast-nst-") as folder:  # it writes to paths alone
        path = Path(folder) / "model.xml"
        try:
            openvino().save_model(model, path, compress_to_fp16=False)
            files = {ending: path.with_suffix(ending).read_bytes() for ending in (".bin", ".xml")}
            read = core.read_model(path)
        except (RuntimeError, OSError) as error:
            raise OSError(None, f"OpenVINO cannot write there ({first_line(error)})", folder) from None
        compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        del read
    return files, lambda array: np.asarray(compiled([array])[0])


_WRITERS = {"onnx": _make_onnx, "pt2": _make_pt2, "openvino": _make_openvino}
