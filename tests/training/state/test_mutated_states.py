"""Every damaged training state is refused in one line, or loads; the one before it stands in for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fast_nst.config import NetworkConfig
from fast_nst.errors import InputError
from fast_nst.models.transform_net import TransformNet
from fast_nst.training.state.resume import TrainingState, load_state, save_state
from fast_nst.training.weight_average import WeightAverage


def parts() -> tuple[TransformNet, torch.optim.Adam, WeightAverage]:
    torch.manual_seed(0)
    network = TransformNet(NetworkConfig(widths=(2, 3, 4), blocks=1))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    network(torch.rand(1, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    return network, optimizer, WeightAverage(network, 0.9)


def files(mutants: ModuleType, path: Path) -> list[bytes]:
    tensors, metadata = mutants.read(path)
    headers = list(mutants.other_headers(path.read_bytes()))[::4]
    contents = list(mutants.other_contents(tensors, metadata, "training"))[::4]
    return [*mutants.flipped_and_cut(path.read_bytes(), 60), *headers, *contents]


@pytest.mark.slow
@pytest.mark.parametrize("every", [pytest.param(23, id="some"), pytest.param(1, id="all")])
def test_every_changed_state_loads_or_is_refused_in_one_line(
    tmp_path: Path, mutants: ModuleType, every: int, record_property: Callable[[str, object], None]
) -> None:
    path = tmp_path / "last.safetensors"
    save_state(path, *parts(), TrainingState(1, 2.0, {"out": "a.safetensors"}, "photos"))
    loaded = parts()
    longest, refused, changed = 0.0, 0, files(mutants, path)[::every]
    for i, data in enumerate(changed):
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            load_state(path, *loaded)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000 + len(str(path)), i
            refused += 1
        except Exception as error:
            error.add_note(f"file {i}")
            raise
        longest = max(longest, time.perf_counter() - start)
    assert refused > len(changed) // 2
    record_property("longest, s", round(longest, 3))
    print(f"{len(changed)} states, {refused} refused, the longest in {longest:.3f} s")
