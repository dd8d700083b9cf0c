"""A trained network between its file and an engine. Torch is imported when its weights are first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fast_nst.config import GalleryNetConfig, NetworkConfig
from fast_nst.inference.engine.backends.base import Backend, MixtureSource, Source
from fast_nst.inference.engine.backends.choice import open_backend
from fast_nst.inference.styles import Mixture
from fast_nst.models.gallery_files import (
    GalleryRow,
    base_of,
    gallery_config,
    gallery_metadata,
    gallery_rows,
    is_gallery,
)
from fast_nst.models.model_files import ADDED, file_digest, network_config, read_metadata

if TYPE_CHECKING:
    from fast_nst.inference.engine.plan import Plan
    from fast_nst.models.checkpoint import Checkpoint, GalleryCheckpoint

__all__ = ["EngineSettings", "TrainedStyle", "trained_style"]


@dataclass(frozen=True)
class EngineSettings:
    """Which engine is asked for, see `open_backend`."""

    device: str
    precision: str
    backend: str


@dataclass(frozen=True)
class TrainedStyle:
    """A network of one style or of many.

    Attributes:
        metadata: of its file.
        load: the network itself.
        digest: SHA-256 of the file; None if it comes from none.
    """

    metadata: Mapping[str, Any]
    config: NetworkConfig | GalleryNetConfig
    load: Callable[[], Checkpoint | GalleryCheckpoint]
    digest: str | None = None

    @property
    def rows(self) -> list[GalleryRow]:
        """Of a network of many styles; empty for one style."""
        if not isinstance(self.config, GalleryNetConfig):
            return []
        return gallery_rows(Path(str(self.metadata.get("style", "gallery"))), self.metadata)

    def plan(self, mixture: Mixture | None) -> Plan:
        """The folded network; of many styles with its rows mixed, which need a mixture."""
        from fast_nst.inference.engine.folded_net import arrays_of
        from fast_nst.inference.engine.folding import fold_weights
        from fast_nst.inference.engine.gallery_folding import fold_gallery

        tensors = arrays_of(self.load().network)
        if not isinstance(self.config, GalleryNetConfig):
            return fold_weights(self.config, tensors)
        assert mixture is not None
        return fold_gallery(self.config, tensors, mixture.rows, mixture.content)

    def source(self, mixture: Mixture | None) -> Source:
        """What an engine needs of it."""
        many = None if mixture is None else MixtureSource(mixture.weights, self._graph)
        normed = isinstance(self.config, GalleryNetConfig) or self.config.norm == "instance"
        return Source(self.metadata, lambda: self.plan(mixture), self.digest, many, normed)

    def _graph(self, **settings: Any) -> Any:
        """The ONNX graph of all styles."""
        from fast_nst.inference.engine.folded_net import arrays_of
        from fast_nst.inference.engine.gallery_graph import build_gallery_graph

        assert isinstance(self.config, GalleryNetConfig)
        tensors = arrays_of(self.load().network)
        return build_gallery_graph(self.config, tensors, self.metadata, total=True, **settings)

    def open(self, mixture: Mixture | None, engine: EngineSettings, opened: Backend | None = None) -> Backend:
        """The network on an engine.

        Args:
            opened: this network, already on that engine with another mixture, which is used where it can be.

        Raises:
            InputError: as `open_backend`.
        """
        source = self.source(mixture)
        if opened is not None and (same := opened.remixed(source)) is not None:
            return same
        return open_backend(source, backend=engine.backend, device=engine.device, precision=engine.precision)


def trained_style(file: Path) -> TrainedStyle:
    """A checkpoint of one style or of many, of which only the metadata is read now.

    Raises:
        CheckpointError: a file that cannot be used.
    """
    metadata = read_metadata(file)
    many, digests = is_gallery(metadata), [file_digest(file)]
    if ADDED in metadata:
        digests.append(file_digest(base_of(file, metadata)))
    if many:
        metadata = gallery_metadata(file)
    config = gallery_config(file, metadata) if many else network_config(file, metadata)

    def load() -> Checkpoint | GalleryCheckpoint:
        from fast_nst.models.checkpoint import load_checkpoint, load_gallery

        return load_gallery(file) if many else load_checkpoint(file)

    return TrainedStyle(metadata, config, load, " ".join(digests))
