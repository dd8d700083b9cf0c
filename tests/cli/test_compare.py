"""``compare.py``: what it asks for and what it prints."""

from __future__ import annotations

from fast_nst.cli import compare


def test_without_arguments_it_explains_itself(said):
    answer = said(compare.main, [])
    assert (answer.code, answer.out) == (2, [])
    assert any("--style" in line and "--content" in line for line in answer.err)


def test_a_style_that_does_not_know_its_objective_is_refused(said, style):
    answer = said(compare.main, ["--style", style])
    assert answer.code == 2
    (line,) = answer.errors
    assert "does not record its training objective" in line


def test_a_value_out_of_range_is_one_line(said):
    answer = said(compare.main, ["--sizes", "8"])
    assert answer.err == ["error: --sizes must be at least 32, got 8"]


def test_a_missing_content_image_is_one_line(said, here):
    answer = said(compare.main, ["--style", "starry-night", "--content", "gone.jpg"])
    assert answer.code == 2
    assert answer.errors == ["error: --content gone.jpg: no such file or folder"]
