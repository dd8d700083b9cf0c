"""A row for any painting, of a gallery that has no trained style predictor: the nearest one, recolored.

The norms are those of the gallery's nearest style, the colors the painting's own. Every row of the wanted
stroke scale stylizes one reference picture; each result gets the mean and the covariance of the painting's
colors (Gatys et al. 2017, equations 10 and 11), so that brushwork is compared and not color, and the row
whose Gram matrices come nearest is taken, with that change of colors in its color matrix. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from fast_nst.io.images import from_uint8
from fast_nst.models.checkpoint import row_shapes
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet, color_change
from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import gram_error
from fast_nst.models.reference_picture import reference_picture
from fast_nst.models.vgg import VGGFeatures

__all__ = ["NearestRow"]

SIDE = 128  # pixels of the reference picture
_AT_ONCE = 8  # results in the loss network at a time


class NearestRow:
    """Makes rows for style images.

    Args:
        network: a trained gallery.
        rows: what its rows are.
        features: the loss network.
        layers: style layers, of those that it was built for.
    """

    def __init__(
        self,
        network: GalleryNet,
        rows: Sequence[GalleryRow],
        features: VGGFeatures,
        layers: Iterable[str],
    ) -> None:
        self._network, self._rows = network, list(rows)
        self._features, self._layers = features, tuple(layers)

    @torch.no_grad()
    def row(self, style: Tensor, scale: float) -> dict[str, Tensor]:
        """The tensors of a row, by name, each without the rows' dimension.

        Args:
            style: ``(3, H, W)`` in [0, 1], the style image at the size of its stroke scale.
            scale: the stroke scale; of the gallery's rows those of the nearest scale are looked at.
        """
        device = style.device
        candidates = self._candidates(scale)
        content = from_uint8(reference_picture(SIDE, SIDE))[None].to(device)
        weights = torch.eye(len(self._rows), device=device)[candidates]
        results = self._network(content.expand(len(candidates), -1, -1, -1), weights)
        changes = [tuple(part.to(result) for part in color_change(result, style)) for result in results]
        matched = torch.stack(
            [
                torch.einsum("oc,chw->ohw", matrix, result) + offset[:, None, None]
                for (matrix, offset), result in zip(changes, results, strict=True)
            ]
        )
        best = int(self._distances(matched, style).argmin())
        state = self._network.state_dict()
        found = {name: state[name][candidates[best]].clone() for name in row_shapes(self._network)}
        matrix, offset = changes[best]
        found["color"] = matrix @ found["color"]
        found["offset"] = matrix @ found["offset"] + offset
        return found

    def _candidates(self, scale: float) -> list[int]:
        """The rows of the nearest scale, without the one that gives the content image."""
        styles = [(abs(row.scale - scale), i) for i, row in enumerate(self._rows) if row.style is not None]
        nearest = min(styles)[0]
        return [i for away, i in styles if away == nearest]

    def _distances(self, images: Tensor, style: Tensor) -> Tensor:
        """Relative error of the Gram matrices, mean over the layers, ``(B,)``."""
        wanted = {k: gram_matrix(f) for k, f in self._features(style[None], self._layers).items()}
        found = []
        for part in torch.split(images, _AT_ONCE):
            features = self._features(part, self._layers)
            errors = [gram_error(gram_matrix(f), wanted[k]) for k, f in features.items()]
            found.append(torch.stack(errors).mean(dim=0))
        return torch.cat(found)
