"""What the processor can do, and what it is told not to."""

from __future__ import annotations

import pytest

from fast_nst.system import cpu


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
def test_matrix_units_count_where_they_are_and_may_be_used(monkeypatch, flags, limit, expected):
    monkeypatch.setattr(cpu, "_cpu_flags", lambda: frozenset(flags))
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu.cpu_has_matrix_units() is expected


def test_what_is_kept_for_one_processor_or_limit_is_not_taken_for_another(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    mine = cpu.cpu_fingerprint()
    assert cpu.cpu_fingerprint() == mine
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    limited = cpu.cpu_fingerprint()
    monkeypatch.setattr(cpu, "_cpu_flags", lambda: frozenset({"made_up"}))
    assert len({mine, limited, cpu.cpu_fingerprint()}) == 3


@pytest.mark.parametrize(("word", "expected"), [("3", 3), ("0", None), ("", None), ("4,2", None)])
def test_the_thread_limit_is_read(monkeypatch, word, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", word)
    assert cpu.thread_limit() == expected
