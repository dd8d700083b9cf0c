"""Compiled functions: the same values, and never a reason to stop."""

from __future__ import annotations

import pytest
import torch

from fast_nst.system.compiling import Compiled
from fast_nst.system.device import has_compiler


class Scaled(torch.nn.Module):
    """A module with a number of its own, as each objective has its own targets."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = torch.tensor(factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.factor).square().sum()


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="no C++ compiler")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_object_of_a_class_is_compiled_and_gives_its_own_value_and_gradient() -> None:
    torch.compiler.reset()
    for factor in range(1, 11):  # more than torch keeps of one function by itself
        module, x = Scaled(factor), torch.ones(3, requires_grad=True)
        compiled = Compiled(module, on=True)
        (gradient,) = torch.autograd.grad(compiled(x), x)
        assert gradient.tolist() == [2.0 * factor**2] * 3
        assert compiled.call is not module


def test_what_cannot_be_compiled_is_called_as_it_is_after_a_word(caplog: pytest.LogCaptureFixture) -> None:
    compiled = Compiled(Scaled(2.0), on=True)

    def broken(_: torch.Tensor) -> torch.Tensor:
        raise torch._dynamo.exc.TorchDynamoException("no headers\nand more")

    compiled.call = broken
    for _ in range(2):
        assert compiled(torch.ones(3)) == 12
    assert [r.getMessage() for r in caplog.records] == [
        "torch.compile failed; running without it: no headers"
    ]


def test_what_is_not_to_be_compiled_is_not() -> None:
    module = Scaled(1.0)
    assert Compiled(module, on=False).call is module
