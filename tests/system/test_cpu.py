"""What the processor can do, and what it is told not to."""

from __future__ import annotations

from pathlib import Path

import pytest

from fast_nst.system import cpu


def cpuinfo(folder: Path, flags: set[str]) -> Path:
    """Linux's description of a processor with two cores."""
    core = f"processor\t: 0\nmodel name\t: one\nflags\t\t: fpu {' '.join(sorted(flags))}\nbugs\t\t: none\n\n"
    (folder / "cpuinfo").write_text(core * 2)
    return folder / "cpuinfo"


@pytest.mark.parametrize(
    ("flags", "limit", "expected"),
    [
        ({"amx_bf16", "avx512_bf16"}, None, True),
        ({"amx_bf16"}, "DEFAULT", True),
        ({"amx_bf16"}, "avx512_core_amx", True),
        ({"amx_bf16"}, "AVX2", False),
        ({"amx_bf16"}, "AVX512_CORE_BF16", False),
        ({"avx512_bf16"}, None, False),
        (set(), None, False),
    ],
)
def test_matrix_units_count_where_they_are_and_may_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: set[str], limit: str | None, expected: bool
) -> None:
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu.cpu_has_matrix_units(cpuinfo(tmp_path, flags)) is expected


def test_what_is_kept_for_one_processor_or_limit_is_not_taken_for_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    mine = cpu.cpu_fingerprint()
    assert cpu.cpu_fingerprint() == mine
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    limited = cpu.cpu_fingerprint()
    other = cpu.cpu_fingerprint(cpuinfo(tmp_path, {"made_up"}))
    assert len({mine, limited, other}) == 3


@pytest.mark.parametrize(("word", "expected"), [("3", 3), ("0", None), ("", None), ("4,2", None)])
def test_the_thread_limit_is_read(monkeypatch: pytest.MonkeyPatch, word: str, expected: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", word)
    assert cpu.thread_limit() == expected
