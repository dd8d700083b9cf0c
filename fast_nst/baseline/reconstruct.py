"""Content and style reconstructions, figure 1 of Gatys et al. 2016, as one contact sheet.

Content is reconstructed from the activations of a single layer, texture from the Gram matrices of all layers
up to a depth, both from white noise. Deeper layers keep less pixel detail and larger texture patterns.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from fast_nst.baseline.image_optimizer import PictureOptimizer
from fast_nst.baseline.initialization import fit_longer
from fast_nst.baseline.objective import load_features
from fast_nst.baseline.result_store import ProgressReport
from fast_nst.baseline.sheets import Cell, contact_sheet
from fast_nst.config.baseline import ReconstructConfig
from fast_nst.config.optimize import GatysConfig

__all__ = ["Reconstruction"]


class Reconstruction:
    """Reconstructs a content image and a style image; iterate over it to run, each item is one result.

    Args:
        content_image, style_image: ``(3, H, W)``, RGB, [0, 1].
        config: layers, size, iterations.

    Attributes:
        content, textures: captions and images of the results so far.

    Raises:
        InputError: an unknown layer or a device that does not exist.
    """

    def __init__(self, content_image: Tensor, style_image: Tensor, config: ReconstructConfig) -> None:
        self.config = config
        self.content_image, self.style_image = (
            fit_longer(image, config.size) for image in (content_image, style_image)
        )
        self._features = load_features(self._settings(config.layers, ()), (self.content_image,))
        self.content: list[Cell] = [("content image", self.content_image)]
        self.textures: list[Cell] = [("style image", self.style_image)]

    def __iter__(self) -> Iterator[ProgressReport]:
        layers = self.config.layers
        total = 2 * len(layers)
        for done, layer in enumerate(layers, start=1):
            run = PictureOptimizer(
                self.content_image, self.style_image, self._settings((layer,), ()), features=self._features
            )
            self.content.append((layer, self._finished(run)))
            yield ProgressReport(done, total, f"content of {layer}: {run.best_loss:.4g}")
        for depth, layer in enumerate(layers, start=1):
            # A texture has the size of the style image.
            config = self._settings((), layers[:depth])
            run = PictureOptimizer(self.style_image, self.style_image, config, features=self._features)
            caption = layer if depth == 1 else f"{layers[0]} … {layer}"
            self.textures.append((caption, self._finished(run)))
            yield ProgressReport(len(layers) + depth, total, f"texture up to {layer}: {run.best_loss:.4g}")

    def save(self, path: Path) -> None:
        """Write the results so far as a PNG contact sheet: content above, textures below."""
        contact_sheet([self.content, self.textures], path)

    def _settings(self, content: tuple[str, ...], style: tuple[str, ...]) -> GatysConfig:
        c = self.config
        return GatysConfig(
            objective="gatys",
            content_layers=content,
            style_layers=style,
            content_weight=float(bool(content)),
            style_weight=float(bool(style)),
            tv_weight=0.0,
            steps=c.steps,
            report_every=c.steps,
            start="noise",
            size=None,
            seed=c.seed,
            loss_network=c.loss_network,
            vgg_weights=c.vgg_weights,
            pooling=c.pooling,
            device=c.device,
            precision=c.precision,
        )

    def _finished(self, run: PictureOptimizer) -> Tensor:
        for _ in run:
            pass
        return run.picture()
