"""The networks of the page: one for all styles where it is bundled, else one file for each bundled style.

Their files are ONNX without transposed convolutions, which are slow in browsers, and with weights in half
precision, as checkpoints have them: half the bytes of the first load.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fast_nst.errors import InputError
from fast_nst.inference.styles import bundled_styles, gallery_styles
from fast_nst.io.files import write_atomically
from fast_nst.io.image_writer import write_picture
from fast_nst.io.images import read_picture, resized
from fast_nst.models.gallery_files import gallery_rows
from fast_nst.models.model_files import bundled_galleries, bundled_networks, read_metadata
from fast_nst.system.extras import how_to_install

if TYPE_CHECKING:
    import onnx

__all__ = ["StyleLabel", "style_labels", "web_gallery", "web_model", "write_models"]

THUMBNAIL = 160  # pixels of the longer side
_SMALLEST = 64  # numbers of a tensor that is worth storing in half precision


@dataclass(frozen=True)
class StyleLabel:
    """What stands beside a painting on a wall."""

    id: str
    title: str
    artist: str
    year: str


def style_labels(names: Sequence[str]) -> list[StyleLabel]:
    """The labels of bundled styles, as ``gallery.toml`` beside them has them."""
    about: dict[str, dict[str, str]] = {}
    for folder in {path.parent for path in bundled_styles().values()}:
        if (known := folder / "gallery.toml").is_file():
            styles = tomllib.loads(known.read_text(encoding="utf-8"))["style"]
            about |= {style["id"]: style for style in styles}
    labels = []
    for name in names:
        found = about.get(name, {})
        title = found.get("title", name.replace("-", " ").capitalize())
        labels.append(StyleLabel(name, title, found.get("artist", ""), found.get("year", "")))
    return labels


def web_model(style: Path) -> bytes:
    """A style as ONNX for browsers: ``(1, 3, H, W)`` in [0, 1] in and out, any size.

    Raises:
        CheckpointError: the style cannot be used.
        InputError: the package that writes ONNX is missing.
    """
    from fast_nst.models.checkpoint import load_checkpoint  # torch, which a server may not need

    checkpoint = load_checkpoint(style)
    try:
        from fast_nst.inference.engine.folded_net import plan_of
        from fast_nst.inference.engine.graph import build_graph
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs the package {error.name}: {how_to_install('onnx')}") from None
    return _in_half(build_graph(plan_of(checkpoint.network), {}, pixels="float", upsampling="shuffled"))


def web_gallery(gallery: Path) -> bytes:
    """A network of many styles as ONNX for browsers; besides the picture it takes the weights of its rows.

    Raises:
        CheckpointError: the gallery cannot be used.
        InputError: the package that writes ONNX is missing.
    """
    from fast_nst.models.checkpoint import load_gallery

    network = load_gallery(gallery).network
    try:
        from fast_nst.inference.engine.folded_net import arrays_of
        from fast_nst.inference.engine.gallery_graph import build_gallery_graph
    except ModuleNotFoundError as error:
        raise InputError(f"the page needs the package {error.name}: {how_to_install('onnx')}") from None
    graph = build_gallery_graph(network.config, arrays_of(network), {}, pixels="float", upsampling="shuffled")
    return _in_half(graph)


def _in_half(model: onnx.ModelProto) -> bytes:
    """The file of a model with its large tensors in half precision, which the engine casts as it loads."""
    from onnx import TensorProto, helper, numpy_helper

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
    galleries = list(bundled_galleries().values())
    about: dict[str, Any] = {"rows": None}
    if galleries:
        labels = style_labels(gallery_styles(galleries[0]))
        data = web_gallery(galleries[0])
        write_atomically(folder / "gallery.onnx", data)
        rows = gallery_rows(galleries[0], read_metadata(galleries[0]))
        about = {"rows": [asdict(row) for row in rows], "model": "model/gallery.onnx", "bytes": len(data)}
        parent, own = galleries[0].parent, dict[str, Path]()
    else:
        own = bundled_networks()
        labels = style_labels(list(own))
        parent = next(iter(own.values())).parent
    about["styles"] = [_entry(label, parent, folder, own.get(label.id)) for label in labels]
    about["engine"] = {path.name: path.stat().st_size for path in sorted(engine.glob("*.gz"))}
    write_atomically(folder / "gallery.json", json.dumps(about, indent=1).encode())


def _entry(label: StyleLabel, parent: Path, folder: Path, network: Path | None) -> dict[str, Any]:
    """What ``gallery.json`` says about a style.

    Args:
        parent: the folder of the checkpoints and their paintings.
        network: of this style alone, which is written too; None in a gallery.
    """
    entry: dict[str, Any] = asdict(label)
    if network is not None:
        data = web_model(network)
        write_atomically(folder / f"{label.id}.onnx", data)
        entry |= {"model": f"model/{label.id}.onnx", "bytes": len(data)}
    return entry | {"thumbnail": _thumbnail(parent / "paintings" / f"{label.id}.jpg", folder)}


def _thumbnail(image: Path, folder: Path) -> str | None:
    """The address of a painting, small; None where there is no painting."""
    if not image.is_file():
        return None
    picture = read_picture(image)
    scale = THUMBNAIL / max(picture.width, picture.height)
    small = resized(picture, max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    name = f"thumbnails/{image.name}"
    write_picture(folder / name, small, quality=85)
    return f"model/{name}"
