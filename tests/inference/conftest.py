"""A network that stylizes in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from fast_nst.config import NetworkConfig
from fast_nst.inference.predictor import no_progress
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.images import Picture
from fast_nst.models.checkpoint import Checkpoint
from fast_nst.models.transform_net import TransformNet

Meddle = Callable[[Sequence[Picture]], object]


class Meddled(Stylizer):
    """A stylizer with which something happens before each batch: an error, a delay, another process."""

    def __init__(self, checkpoint: Checkpoint, meddle: Meddle) -> None:
        super().__init__(checkpoint, device="cpu")
        self.meddle = meddle

    def pictures(
        self, pictures: Sequence[Picture], *, progress: Callable[[float], None] = no_progress
    ) -> list[Picture]:
        self.meddle(pictures)
        return super().pictures(pictures, progress=progress)


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)).eval().requires_grad_(False)
    network.body.conv4.conv.bias.fill_(0.5)
    return Checkpoint(network, {"style": "dots"})


@pytest.fixture(scope="session")
def stylizer(checkpoint: Checkpoint) -> Stylizer:
    return Stylizer(checkpoint, device="cpu", precision="fp32")


@pytest.fixture(scope="session")
def meddled(checkpoint: Checkpoint) -> Callable[[Meddle], Stylizer]:
    """Makes a `Meddled` stylizer."""
    return lambda meddle: Meddled(checkpoint, meddle)
