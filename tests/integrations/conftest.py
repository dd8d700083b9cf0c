"""A network that stylizes in milliseconds."""

from __future__ import annotations

import pytest
import torch

from fast_nst.config import NetworkConfig
from fast_nst.inference.stylizer import Stylizer
from fast_nst.models.checkpoint import Checkpoint
from fast_nst.models.transform_net import TransformNet


@pytest.fixture(scope="session")
def stylizer() -> Stylizer:
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(4, 4, 8), blocks=1)).eval().requires_grad_(False)
    network.body.conv4.conv.bias.fill_(0.5)
    return Stylizer(Checkpoint(network, {"style": "dots"}), device="cpu", backend="torch")
