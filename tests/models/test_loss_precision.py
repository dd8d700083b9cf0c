"""The precision of a loss network on processors: measured once, and bf16 only where it pays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fast_nst.models import loss_precision as module
from fast_nst.models.loss_precision import loss_precision, loss_times
from fast_nst.system.timing import fastest

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))


def test_what_is_asked_for_is_taken_unmeasured(tmp_path: Path) -> None:
    assert loss_precision("bf16", CPU, "distilled") == "bf16"
    assert loss_precision("fp32", CPU, "distilled") == "fp32"
    assert not (tmp_path / "cache").exists()


def test_a_processor_without_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: False)
    assert loss_precision("auto", CPU, "vgg19") == "fp32"


def test_a_processor_that_has_bf16_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cpu_has_bf16", lambda: True)
    before = torch.random.get_rng_state()
    chosen = loss_precision("auto", CPU, "distilled")
    times = loss_times("distilled")
    assert loss_times("distilled") == times  # to the last digit: from the cache
    assert chosen == fastest(times)
    assert torch.equal(torch.random.get_rng_state(), before)
