"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before torch is imported, here and in the processes that tests start: two test workers share two cores, and
# sums taken by several threads are not the same to the last bit in every run.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What engines keep between runs stays out of the user's folder, also in processes that tests start."""
    os.environ["FAST_NST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photographs that may lie beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "weights").is_dir():
        pytest.skip(f"no real weights: there is no {folder / 'weights'}")
    return folder
