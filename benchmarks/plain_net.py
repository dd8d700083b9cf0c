"""The network of pytorch/examples' fast_neural_style as that project runs it: what engines are compared with.

A transcription of its architecture, with a trained style's weights under that project's names, so that its
own code (a checkout's ``transformer_net.py``) takes them too. Pictures are ``(B, 3, H, W)`` in 0 to 255.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.errors import InputError
from fast_nst.io.images import MAX_LEVEL
from fast_nst.models.transform_net import TransformNet

__all__ = ["PlainNet", "examples_net"]


class _Padded(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, enlarge: bool = False
    ) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.reflection_pad = nn.ReflectionPad2d(kernel // 2)
        self.conv2d = nn.Conv2d(inputs, outputs, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        if self.enlarge:
            x = F.interpolate(x, mode="nearest", scale_factor=2)
        out: Tensor = self.conv2d(self.reflection_pad(x))
        return out


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = _Padded(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)
        self.conv2, self.in2 = _Padded(channels, channels, 3), nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.in2(self.conv2(F.relu(self.in1(self.conv1(x)))))
        return out + x


class PlainNet(nn.Module):
    """Five blocks, nearest x2 before the convolutions that enlarge, a bias in each convolution."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        a, b, c = widths
        self.conv1, self.in1 = _Padded(3, a, 9), nn.InstanceNorm2d(a, affine=True)
        self.conv2, self.in2 = _Padded(a, b, 3, 2), nn.InstanceNorm2d(b, affine=True)
        self.conv3, self.in3 = _Padded(b, c, 3, 2), nn.InstanceNorm2d(c, affine=True)
        self.res1, self.res2, self.res3, self.res4, self.res5 = (_Block(c) for _ in range(5))
        self.deconv1, self.in4 = _Padded(c, b, 3, enlarge=True), nn.InstanceNorm2d(b, affine=True)
        self.deconv2, self.in5 = _Padded(b, a, 3, enlarge=True), nn.InstanceNorm2d(a, affine=True)
        self.deconv3 = _Padded(a, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0 to 255, H and W multiples of 4, to the same."""
        y = F.relu(self.in1(self.conv1(x)))
        y = F.relu(self.in2(self.conv2(y)))
        y = F.relu(self.in3(self.conv3(y)))
        for block in (self.res1, self.res2, self.res3, self.res4, self.res5):
            y = block(y)
        y = F.relu(self.in4(self.deconv1(y)))
        y = F.relu(self.in5(self.deconv2(y)))
        out: Tensor = self.deconv3(y)
        return out


def examples_net(network: TransformNet, peer: Path | None = None) -> nn.Module:
    """A trained style in that network, or in the one of a checkout's fast_neural_style folder.

    Raises:
        InputError: a style of another architecture, or a folder without that project's code.
    """
    config = network.config
    if (config.upsample, config.norm, config.padding, config.blocks) != ("tied", "instance", "reflect", 5):
        raise InputError(
            "only tied styles of five blocks with instance norms have an equal in pytorch/examples"
        )
    net: nn.Module = PlainNet(config.widths) if peer is None else _theirs(peer)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        ours = _our_name(name)
        if ours in state:
            wanted[name] = state[ours]
        elif name.endswith("conv2d.bias"):  # ours have none before a norm, which would cancel it
            wanted[name] = tensor.zero_()
    wanted["conv1.conv2d.weight"] /= MAX_LEVEL
    for part in ("weight", "bias"):
        wanted[f"deconv3.conv2d.{part}"] *= MAX_LEVEL
    net.load_state_dict(wanted)
    return net.eval().requires_grad_(False)


def _our_name(name: str) -> str:
    """Our name of a tensor: ``res1.in2.weight`` -> ``body.block1.norm2.weight`` and so on."""
    first, *rest = name.replace("conv2d", "conv").split(".")
    if first.startswith("res"):
        return ".".join([f"body.block{first[3:]}", rest[0].replace("in", "norm"), *rest[1:]])
    stages = {"deconv1": "up1", "deconv2": "up2", "deconv3": "conv4"}
    norms = {"in1": "conv1", "in2": "conv2", "in3": "conv3", "in4": "up1", "in5": "up2"}
    if first in norms:
        return ".".join([f"body.{norms[first]}_norm", *rest])
    return ".".join([f"body.{stages.get(first, first)}", *rest])


def _theirs(peer: Path) -> nn.Module:
    file = next(iter([*peer.glob("transformer_net.py"), *peer.glob("*/transformer_net.py")]), None)
    spec = None if file is None else importlib.util.spec_from_file_location("transformer_net", file)
    if spec is None or spec.loader is None:
        raise InputError(f"--peer {peer}: there is no transformer_net.py; give the folder fast_neural_style")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net: nn.Module = module.TransformerNet()
    return net
