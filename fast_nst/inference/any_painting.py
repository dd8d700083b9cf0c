"""Any painting as a style: its rows are predicted and kept in the cache, as a style added to a gallery.

FOLDER/styles/                            mode 0700
NAME-<16 hex digits>.safetensors      of the painting, the gallery and the method
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fast_nst.errors import InputError, first_line
from fast_nst.io.images import EXTENSIONS
from fast_nst.models.gallery_files import gallery_rows, own_styles, styles_of
from fast_nst.models.model_files import ADDED, CheckpointError, file_digest, predictor_of, read_metadata
from fast_nst.system.folders import UnusableFolderError, private_folder

__all__ = ["is_painting", "kept_style", "predict_style", "style_of_painting"]

METHOD = 2  # of the prediction: files of another one are made again
SIZE = 256  # shorter side of the painting at stroke scale 1, pixels: that of training
MOST = 64  # files that are kept, of some 10 KB


def is_painting(style: str | Path) -> bool:
    """Whether a style is named by an image file."""
    return Path(style).suffix.lower() in EXTENSIONS and Path(style).is_file()


def style_of_painting(painting: Path, gallery: Path) -> Path:
    """The file of a painting's style, made if it is not in the cache.

    Args:
        gallery: the file of a bundled gallery; its stroke scales are those of the style.

    Raises:
        ImageReadError: the painting cannot be read.
        CheckpointError: the gallery cannot be used.
        InputError: there is no folder for the file.
    """
    return kept_style(painting, gallery, "", lambda file: predict_style(painting, gallery, file))


def kept_style(painting: Path, gallery: Path, how: str, make: Callable[[Path], None]) -> Path:
    """A file of the cache with the style of a painting; made if it is not there.

    Args:
        how: what else it depends on.
        make: writes it.

    Raises:
        InputError: there is no folder for the file.
    """
    predictor = predictor_of(gallery)
    by = "" if predictor is None else file_digest(predictor)
    known = f"{METHOD} {file_digest(painting)} {file_digest(gallery)} {by} {how}"
    try:
        folder = private_folder("styles")
    except (UnusableFolderError, OSError) as error:
        raise InputError(f"the style of {painting} cannot be kept: {first_line(error)}") from None
    key = hashlib.sha256(known.encode()).hexdigest()[:16]
    file = folder / f"{_plain(painting.stem)}-{key}.safetensors"
    with suppress(CheckpointError):
        own_styles(file)
        return file
    make(file)
    kept = sorted(folder.glob("*.safetensors"), key=lambda path: path.lstat().st_mtime)
    for old in kept[:-MOST]:
        old.unlink(missing_ok=True)
    return file


def _plain(name: str) -> str:
    """A name without what the syntax of mixtures needs."""
    return re.sub(r"[^\w.-]+", "-", name.replace("_", "-")).strip("-") or "painting"


def predict_style(painting: Path, gallery: Path, file: Path, name: str | None = None) -> None:
    """Write the predicted style of a painting.

    Args:
        name: of the style [default: the painting's file name].

    Raises:
        ImageReadError: the painting cannot be read.
        CheckpointError: the gallery cannot be used.
    """
    import torch

    from fast_nst.io.images import load_image
    from fast_nst.models.checkpoint import load_gallery, save_checkpoint
    from fast_nst.models.gallery_net import GalleryNet
    from fast_nst.models.style_prediction import row_predictor

    trained = load_gallery(gallery)
    rows, predictor = gallery_rows(gallery, trained.metadata), row_predictor(gallery, trained)
    scales = sorted({row.scale for row in rows if row.style is not None})
    found = [predictor.row(load_image(painting, short_side=round(scale * SIZE)), scale) for scale in scales]
    network = GalleryNet(replace(trained.network.config, rows=len(scales)))
    state = dict(trained.network.state_dict())
    network.load_state_dict(state | {name: torch.stack([row[name] for row in found]) for name in found[0]})
    name, taken = name or _plain(painting.stem), styles_of(rows)
    while name in taken:
        name += "-2"
    metadata = {
        "style": name,
        "rows": [{"style": name, "scale": scale} for scale in scales],
        "styles": [{"id": name}],
        "predicted": METHOD,
        ADDED: read_metadata(gallery)["sha256"],
    }
    save_checkpoint(file, network, metadata)
