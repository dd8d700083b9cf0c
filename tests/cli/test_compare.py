"""``compare.py``: what it asks for and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fast_nst.cli import compare

if TYPE_CHECKING:
    from tests.cli.conftest import Said


def test_without_arguments_it_explains_itself(said: Callable[..., Said]) -> None:
    answer = said(compare.main, [])
    assert (answer.code, answer.out) == (2, [])
    assert any("--style" in line and "--content" in line for line in answer.err)


def test_a_style_that_does_not_know_its_objective_is_refused(said: Callable[..., Said], style: str) -> None:
    answer = said(compare.main, ["--style", style])
    assert answer.code == 2
    (line,) = answer.errors
    assert "does not record its training objective" in line


def test_a_value_out_of_range_is_one_line(said: Callable[..., Said]) -> None:
    answer = said(compare.main, ["--sizes", "8"])
    assert answer.err == ["error: --sizes must be at least 32, got 8"]


def test_a_missing_content_image_is_one_line(said: Callable[..., Said], here: Path) -> None:
    answer = said(compare.main, ["--style", "starry-night", "--content", "gone.jpg"])
    assert answer.code == 2
    assert answer.errors == ["error: --content gone.jpg: no such file or folder"]
