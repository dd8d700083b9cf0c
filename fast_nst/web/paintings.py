"""Visitors' own paintings as styles: predicted when they come, refined on a picture when asked to."""

from __future__ import annotations

import secrets
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from fast_nst.config.web import WebConfig
from fast_nst.errors import shown
from fast_nst.inference.any_painting import predict_style
from fast_nst.io.images import fit, read_picture, write_picture
from fast_nst.models.model_files import bundled_galleries
from fast_nst.web.engine import Engine
from fast_nst.web.jobs import WebJob
from fast_nst.web.models import StyleLabel
from fast_nst.web.parameters import Parameters
from fast_nst.web.refusals import Refusal
from fast_nst.web.styles import Style
from fast_nst.web.submission import check_picture, plain_stem
from fast_nst.web.uploads import Form

if TYPE_CHECKING:
    from fast_nst.report import TaskReport
    from fast_nst.training.trainer import Trainer

__all__ = ["Paintings"]

_MOST = 32  # paintings at a time; the oldest is forgotten
_THUMBNAIL = 320  # longer side, pixels
_KEPT = 512  # shorter side of a painting that may be refined: that of stroke scale 2
_MINUTES = (0.1, 10.0)  # of a refinement, the least and the most
_SHOWN = 6.0  # seconds of training after which the style is shown as it is


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
        small = picture if min(picture.width, picture.height) <= _KEPT else fit(picture, shorter_side=_KEPT)
        write_picture(folder / f"{name}.png", small)
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

    def check(self, name: str) -> Style:
        """The style of a painting.

        Raises:
            Refusal: it is not known, or was forgotten.
        """
        if (style := self._engine.paintings.get(name)) is None:
            raise Refusal(404, f"there is no painting {shown(name)}; it may have been forgotten")
        return style

    def refinement(self, name: str, form: Form, folder: Path) -> WebJob:
        """The job that trains a painting's style on an uploaded picture.

        Args:
            folder: that of the upload.

        Raises:
            Refusal: no such painting, no picture that can be read, or minutes out of their range.
            ImageReadError: the picture is of no use for training.
        """
        from fast_nst.training.data.crops import check_shape  # torch, which a server may not need

        style = self.check(name)
        if "image" not in form.files:
            raise Refusal(422, "the form has no file 'image', which the style is trained on; send one")
        check_picture(form.files["image"], self._config.max_pixels)
        low, high = _MINUTES
        try:
            minutes = float(form.texts.get("minutes", "3"))
        except ValueError:
            minutes = 0.0
        if not low <= minutes <= high:
            raise Refusal(422, f"minutes goes from {low:g} to {high:g}, got {shown(form.texts['minutes'])}")
        picture = read_picture(form.files["image"], max_pixels=self._config.max_pixels)
        check_shape("image", picture)
        source = folder / "image.png"
        write_picture(source, picture)
        form.files["image"].unlink()
        title = f"{style.label.title}.safetensors"
        target = folder / f"{name}.safetensors"
        return WebJob(folder, source, target, title, Parameters({name: 1.0}), minutes=minutes)

    def refine(self, job: WebJob) -> None:
        """Train a painting's style; meanwhile pictures in it are made with what is learned so far.

        Raises:
            InputError: the painting was forgotten.
            Cancelled: the job was cancelled; what was learned so far stays.
        """
        from fast_nst.training.refining import refine_style

        (name,) = job.parameters.weights
        style, gallery, shown_at = self.check(name), self.gallery, 0.0
        assert gallery is not None  # else there were no paintings

        def follow(trainer: Trainer, report: TaskReport) -> None:
            nonlocal shown_at
            job.advance(min(0.99, report.elapsed / (60 * job.minutes)), f"Step {report.step}")
            if report.elapsed - shown_at >= _SHOWN:
                shown_at = report.elapsed
                trainer.save()
                self._show(name, job.target)

        refine_style(
            style.file.with_name(f"{name}.png"),
            gallery,
            style.file,
            [job.source],
            job.target,
            minutes=job.minutes,
            device=self._config.device,
            on_report=follow,
        )
        self._show(name, job.target)

    def _show(self, name: str, trained: Path) -> None:
        """From now on pictures are made with this file, under a new name: what is loaded is known by it."""
        with self._lock:
            before = self.check(name)
            file = before.file.with_name(f"{name}-{secrets.token_hex(4)}.safetensors")
            shutil.copyfile(trained, file)
            self._engine.paintings[name] = replace(before, file=file)
            for old in file.parent.glob(f"{name}*.safetensors"):
                if old not in (file, before.file):
                    old.unlink(missing_ok=True)  # the one before may be being loaded
