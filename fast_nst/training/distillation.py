"""How the distilled loss network comes from VGG-19: factors of low rank in closed form, then a training.

`factorize` goes from layer to layer and finds the factors that give VGG's responses back, from the inputs
that the layer has in the distilled network itself, so that errors do not add up (Zhang et al. 2016, sections
3.1 and 3.3, with the input's channels reduced as well). `DistillationLoss` then compares what a loss network
is for: features, Gram matrices, and the direction of the gradient on the picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fast_nst.models.gram import gram_matrix
from fast_nst.models.losses import gram_error
from fast_nst.models.low_rank import LowRankConv
from fast_nst.models.vgg import VGGFeatures

__all__ = [
    "TERMS",
    "Agreement",
    "DistillationLoss",
    "Factors",
    "agreement",
    "factorize",
    "low_rank_factors",
    "unfrozen",
]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
TERMS = (*STYLE_LAYERS, CONTENT_LAYER)
# What the training compares: the first layer of the distilled network is VGG's own.
_COMPARED = ("relu2_1", "relu2_2", "relu3_1", "relu3_3", "relu4_1", "relu4_2", "relu4_4", "relu5_1")
_POSITIONS = 60_000  # in all images together: a layer has at most 1,152 unknowns for each output
_RIDGE = 1e-4  # of the mean variance: keeps the solution finite where channels are always 0


class Factors(NamedTuple):
    """Values of a `LowRankConv`, in the order of its parameters."""

    reduce: Tensor
    """``(A, C)``"""
    conv: Tensor
    """``(B, A * 9)``"""
    expand: Tensor
    """``(O, B)``"""
    bias: Tensor
    """``(O,)``"""


@torch.no_grad()
def factorize(vgg: VGGFeatures, distilled: VGGFeatures, images: Tensor) -> list[tuple[str, float]]:
    """Fill the distilled network from VGG-19.

    Args:
        vgg: VGG-19 with its weights, at least as deep as the other.
        distilled: overwritten.
        images: ``(N, 3, S, S)`` in [0, 1], those on which responses are compared; about a hundred.

    Returns:
        Each layer, and the squared error of its features relative to VGG's.
    """
    ours = theirs = (images - vgg.mean) / vgg.std
    errors = []
    for name, module in distilled.body.named_children():
        twin = getattr(vgg.body, name)
        if isinstance(module, LowRankConv):
            assert isinstance(twin, nn.Conv2d)
            responses = _in_parts(twin, theirs)
            factors = low_rank_factors(twin.weight, ours, responses, _ranks(module))
            for part, values in zip(module.parameters(), factors, strict=True):
                part.copy_(values.view_as(part))
            ours, theirs = _in_parts(module, ours), responses
        else:
            module.load_state_dict(twin.state_dict())
            ours, theirs = _in_parts(module, ours), _in_parts(twin, theirs)
        if name.startswith("relu"):
            errors.append((name, float((ours - theirs).square().sum() / theirs.square().sum())))
    return errors


def _in_parts(module: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([module(part) for part in torch.split(x, 16)])


def _ranks(module: LowRankConv) -> tuple[int, int]:
    reduce, _, expand = (part.weight for part in module if isinstance(part, nn.Conv2d))
    return len(reduce), expand.shape[1]


def low_rank_factors(weight: Tensor, inputs: Tensor, responses: Tensor, ranks: tuple[int, int]) -> Factors:
    """The factors of a convolution that give ``responses`` from ``inputs`` with the least squared error.

    Args:
        weight: ``(O, C, 3, 3)``, the convolution.
        inputs: ``(N, C, H, W)``.
        responses: ``(N, O, H, W)``, wanted.
        ranks: of the input channels and of the output channels.
    """
    channels, (first, last) = inputs.shape[1], ranks
    # The input: the directions that count for the kernel, in coordinates in which the inputs are white.
    flat = inputs.transpose(0, 1).flatten(1)
    flat = flat[:, :: max(1, flat.shape[1] // _POSITIONS)].double()
    covariance = _regular(flat @ flat.T / flat.shape[1])
    values, vectors = torch.linalg.eigh(covariance)
    root, inverse = (vectors * values.sqrt()) @ vectors.T, (vectors / values.sqrt()) @ vectors.T
    kernel = root @ weight.double().transpose(0, 1).reshape(channels, -1)
    directions = torch.linalg.svd(kernel, full_matrices=False).U[:, :first]
    reduce = (directions.T @ inverse).to(weight.dtype)
    # The rest: a regression on 3 x 3 neighborhoods, then the principal directions of what it predicts.
    reduced = F.conv2d(inputs, reduce[:, :, None, None])
    around, wanted = _neighborhoods(reduced, responses)
    around_mean, wanted_mean = around.mean(dim=0), wanted.mean(dim=0)
    around, wanted = around - around_mean, wanted - wanted_mean
    moments = _regular((around.T @ around).double())
    solution = torch.linalg.solve(moments, (around.T @ wanted).double()).to(weight.dtype)
    predicted = around @ solution
    expand = torch.linalg.eigh((predicted.T @ predicted).double()).eigenvectors[:, -last:].to(weight.dtype)
    conv = solution @ expand
    return Factors(reduce, conv.T.contiguous(), expand, wanted_mean - (around_mean @ conv) @ expand.T)


def _regular(symmetric: Tensor) -> Tensor:
    return symmetric + torch.eye(len(symmetric), dtype=symmetric.dtype) * symmetric.diagonal().mean() * _RIDGE


def _neighborhoods(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``(P, 9 C)`` neighborhoods in x and ``(P, O)`` values of y, at random places, as many in each image."""
    generator = torch.Generator().manual_seed(0)
    count, _, h, w = x.shape
    padded = F.pad(x, (1, 1, 1, 1))
    around, values = [], []
    for image, response in zip(padded, y, strict=True):
        places = torch.randperm(h * w, generator=generator)[: max(1, _POSITIONS // count)]
        rows, columns = places // w, places % w
        shifts = itertools.product(range(3), range(3))
        around.append(
            torch.stack([image[:, rows + dy, columns + dx] for dy, dx in shifts], dim=1).flatten(0, 1).T
        )
        values.append(response.flatten(1)[:, places].T)
    return torch.cat(around), torch.cat(values)


class DistillationLoss(nn.Module):
    """How far a loss network is from VGG-19: features, Gram matrices and gradients on pictures.

    The gradients are those of style and content terms whose targets are the other images of the batch; one
    term or the sum of all, chosen at random.

    Args:
        vgg: VGG-19, with the layers of `layers`.
    """

    layers = (*TERMS, "relu2_2", "relu3_3", "relu4_4")

    def __init__(self, vgg: VGGFeatures) -> None:
        super().__init__()
        self.vgg = vgg

    def forward(self, distilled: VGGFeatures, images: Tensor, chosen: Sequence[str] = TERMS) -> Tensor:
        """A scalar to minimize.

        Args:
            images: ``(B, 3, H, W)`` in [0, 1], at least two.
            chosen: the terms whose gradients are compared.
        """
        theirs, their_gradient = self._gradient(self.vgg, images, chosen, graph=False)
        ours, gradient = self._gradient(distilled, images, chosen, graph=True)
        features = sum((_relative(ours[k], theirs[k]) for k in _COMPARED), images.new_zeros(()))
        grams = sum(
            (_relative(gram_matrix(ours[k]), gram_matrix(theirs[k])) for k in STYLE_LAYERS[1:]),
            images.new_zeros(()),
        )
        cosine = _cosine(gradient, their_gradient)
        length = (gradient.norm(dim=1) / their_gradient.norm(dim=1)).log()
        directions: Tensor = 2 * (1 - cosine).mean() + length.square().mean() / 5
        return features + grams / 2 + directions

    def _gradient(
        self, network: VGGFeatures, images: Tensor, chosen: Sequence[str], *, graph: bool
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        pictures = images.detach().clone().requires_grad_(True)
        found = network(pictures, self.layers)
        terms = _terms(found, {k: v.detach().roll(1, 0) for k, v in found.items()})
        total = sum((terms[k] for k in chosen), images.new_zeros(()))
        gradient = torch.autograd.grad(total, pictures, create_graph=graph)[0].flatten(1)
        return (found if graph else {k: v.detach() for k, v in found.items()}), gradient


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Of the angle between the rows of two tensors, however small they are."""
    return F.cosine_similarity(a, b, dim=1, eps=torch.finfo(a.dtype).tiny)


def _relative(ours: Tensor, theirs: Tensor) -> Tensor:
    error: Tensor = (ours - theirs).square().sum() / theirs.square().sum()
    return error


def _terms(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The style terms (as in `GalleryLoss`) and the content term of features, each summed over the images."""
    terms = {}
    for layer in STYLE_LAYERS:
        gram, target = gram_matrix(found[layer]), gram_matrix(wanted[layer])
        terms[layer] = gram_error(gram, target, bounded=True).sum()
    error = (found[CONTENT_LAYER] - wanted[CONTENT_LAYER]).square().mean(dim=(1, 2, 3))
    terms[CONTENT_LAYER] = (error / wanted[CONTENT_LAYER].square().mean(dim=(1, 2, 3))).sum()
    return terms


class Agreement(NamedTuple):
    """How far two loss networks agree about a term, means over images."""

    value: float
    """the term's value by the second, divided by that by the first"""
    cosine: float
    """of the angle between their gradients on the image"""


def agreement(
    vgg: VGGFeatures, distilled: VGGFeatures, images: Tensor, targets: Tensor
) -> dict[str, Agreement]:
    """By term, how far a loss network agrees with VGG-19.

    Args:
        vgg, distilled: with the layers of `TERMS`.
        images: ``(B, 3, H, W)`` in [0, 1].
        targets: of the same shape, the images whose features and Gram matrices are wanted.
    """
    result = {}
    for term in TERMS:
        values, gradients = [], []
        for network in (vgg, distilled):
            pictures = images.detach().clone().requires_grad_(True)
            with torch.no_grad():
                wanted = network(targets, TERMS)
            value = _terms(network(pictures, TERMS), wanted)[term]
            gradients.append(torch.autograd.grad(value, pictures)[0].flatten(1))
            values.append(float(value.detach()))
        cosine = _cosine(gradients[0], gradients[1]).mean()
        result[term] = Agreement(values[1] / values[0], float(cosine))
    return result


def unfrozen(distilled: VGGFeatures) -> list[nn.Parameter]:
    """The parameters of the factors, made trainable; the first layer is VGG's own."""
    factors = [m for m in distilled.body if isinstance(m, LowRankConv)]
    parameters = [p for module in factors for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters
