"""Visitors' own paintings as styles: predicted when they come, in memory of the server alone."""

from __future__ import annotations

import secrets
import shutil
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from fast_nst.config.web import WebConfig
from fast_nst.inference.any_painting import predict_style
from fast_nst.io.images import fit, read_picture, write_picture
from fast_nst.models.model_files import bundled_galleries
from fast_nst.web.engine import Engine
from fast_nst.web.models import StyleLabel
from fast_nst.web.refusals import Refusal
from fast_nst.web.styles import Style
from fast_nst.web.submission import check_picture, plain_stem
from fast_nst.web.uploads import Form

__all__ = ["Paintings"]

_MOST = 32  # paintings at a time; the oldest is forgotten
_THUMBNAIL = 320  # longer side, pixels


class Paintings:
    """The paintings that were uploaded: styles of the engine under ids that only their visitors know."""

    def __init__(self, config: WebConfig, engine: Engine) -> None:
        self._config, self._engine = config, engine
        self._lock, self._folders = Lock(), OrderedDict[str, Path]()

    @property
    def gallery(self) -> Path | None:
        """The gallery that styles are predicted for: the first that is offered."""
        return next((style.file for style in self._engine.styles.values() if style.mixes), None)

    def limits(self) -> dict[str, int]:
        """The files of a form, with the most bytes of each."""
        return {"painting": self._config.bytes_of("max_upload")}

    def add(self, form: Form, folder: Path) -> Style:
        """Predict the style of an uploaded painting, which takes some seconds.

        Args:
            folder: that of the upload; it belongs to the painting from now on.

        Raises:
            Refusal: no painting in the form, none that can be read, or no gallery.
        """
        if (gallery := self.gallery) is None:
            raise Refusal(409, "this server has no gallery that a painting could be a style of")
        if "painting" not in form.files:
            raise Refusal(422, "the form has no file 'painting'; send one")
        source, name = form.files["painting"], f"painting-{secrets.token_hex(8)}"
        check_picture(source, self._config.max_pixels)
        picture = read_picture(source, max_pixels=self._config.max_pixels)
        (folder / "paintings").mkdir()
        write_picture(folder / "paintings" / f"{name}.jpg", fit(picture, _THUMBNAIL), quality=85)
        file = folder / f"{name}.safetensors"
        if gallery not in bundled_galleries().values():  # which is looked for beside the style
            shutil.copyfile(gallery, folder / "gallery.safetensors")
        with self._engine.turns:
            predict_style(source, gallery, file, name)
        source.unlink()
        title = plain_stem(form.names.get("painting", "painting")).replace("_", " ")
        style = Style(StyleLabel(name, title, "", ""), file, mixes=True)
        with self._lock:
            self._folders[name] = folder
            self._engine.paintings[name] = style
            while len(self._folders) > _MOST:
                old, lost = self._folders.popitem(last=False)
                self._engine.paintings.pop(old)
                shutil.rmtree(lost, ignore_errors=True)
        return style
