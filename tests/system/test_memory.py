"""What is freed stays with a process that asked for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The pages that the system gives to a process whose blocks come and go as in training steps, MiB a round.
ROUNDS = """
import resource, sys, torch
from fast_nst.system.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("other allocator")
def round():
    blocks = [torch.ones(mib << 18) for mib in (48, 12, 33, 48, 6, 24)]
    return [block * 2 for block in blocks[::2]]
for _ in range(6):
    round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    round()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults * resource.getpagesize() / 8 / 2**20)
"""


def new_pages(mode: str) -> float:
    command = [sys.executable, "-c", ROUNDS, mode]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if "other allocator" in found.stderr:
        pytest.skip("the allocator is not glibc's")
    return float(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_freed_blocks_are_used_again_instead_of_new_pages() -> None:
    assert new_pages("keep") < new_pages("leave") / 4
