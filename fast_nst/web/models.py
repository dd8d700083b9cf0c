"""The networks of the page: one for all styles where it is bundled, else one file for each bundled style.

Their files are ONNX without transposed convolutions, which are slow in browsers, and with weights in half
precision, as checkpoints have them: half the bytes of the first load.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.io.files import write_atomically
from fast_nst.io.image_writer import write_picture
from fast_nst.io.images import read_picture, resized
from fast_nst.models.checkpoint import load_checkpoint
from fast_nst.models.model_files import bundled_style_image, bundled_styles
from fast_nst.system.extras import how_to_install

__all__ = ["StyleLabel", "style_labels", "web_model", "write_models"]

THUMBNAIL = 160  # pixels of the longer side
_SMALLEST = 64  # numbers of a tensor that is worth storing in half precision


@dataclass(frozen=True)
class StyleLabel:
    """What stands beside a painting on a wall."""

    id: str
    title: str
    artist: str
    year: str


def style_labels() -> list[StyleLabel]:
    """The bundled styles, the default one first, as ``paintings.json`` beside them describes them."""
    labels = []
    first = StylizeConfig().style
    for style, path in sorted(bundled_styles().items(), key=lambda item: item[0] != first):
        known = path.parent / "paintings" / "paintings.json"
        about = json.loads(known.read_text(encoding="utf-8")).get(style, {}) if known.is_file() else {}
        title = about.get("title", style.replace("-", " ").capitalize())
        labels.append(StyleLabel(style, title, about.get("artist", ""), str(about.get("year", ""))))
    return labels


def web_model(style: Path) -> bytes:
    """A style as ONNX for browsers: ``(1, 3, H, W)`` in [0, 1] in and out, any size.

    Raises:
        CheckpointError: the style cannot be used.
        InputError: the package that writes ONNX is missing.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper

        from fast_nst.inference.engine.folded_net import plan_of
        from fast_nst.inference.engine.graph import build_graph
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs the package {error.name}: {how_to_install('onnx')}") from None
    model = build_graph(plan_of(load_checkpoint(style).network), {}, pixels="float", upsampling="shuffled")
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= _SMALLEST:
            name, half = tensor.name, numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    data: bytes = model.SerializeToString()
    return data


def write_models(folder: Path, engine: Path) -> None:
    """Write ``gallery.json``, the networks and a thumbnail of each painting into a folder of the page.

    Args:
        engine: the page's folder of engine files, whose sizes the page shows its progress by.
    """
    (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
    styles: list[dict[str, Any]] = []
    for label in style_labels():
        path = bundled_styles()[label.id]
        data = web_model(path)
        write_atomically(folder / f"{label.id}.onnx", data)
        entry = asdict(label) | {"model": f"model/{label.id}.onnx", "bytes": len(data)}
        styles.append(entry | {"thumbnail": _thumbnail(path, folder)})
    sizes = {path.name: path.stat().st_size for path in sorted(engine.glob("*.gz"))}
    about = {"rows": None, "styles": styles, "engine": sizes}
    write_atomically(folder / "gallery.json", json.dumps(about, indent=1).encode())


def _thumbnail(style: Path, folder: Path) -> str | None:
    """The address of a style's painting, small; None where there is no painting."""
    image = bundled_style_image(style)
    if image is None:
        return None
    picture = read_picture(image)
    scale = THUMBNAIL / max(picture.width, picture.height)
    small = resized(picture, max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    name = f"thumbnails/{style.stem}.jpg"
    write_picture(folder / name, small, quality=85)
    return f"model/{name}"
