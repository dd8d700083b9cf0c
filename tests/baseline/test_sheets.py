"""Contact sheets without blank cells, and plots whose legend covers no curve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fast_nst.baseline.sheets import Curve, balanced_rows, contact_sheet, plot_curves


@pytest.mark.parametrize("count", range(1, 30))
@pytest.mark.parametrize("most", [3, 4])
def test_rows_hold_every_cell_once_and_differ_by_at_most_one(count: int, most: int) -> None:
    cells = [(str(i), torch.zeros(3, 2, 2)) for i in range(count)]
    rows = balanced_rows(cells, most)
    assert [caption for row in rows for caption, _ in row] == [str(i) for i in range(count)]
    lengths = [len(row) for row in rows]
    assert 1 <= min(lengths) <= max(lengths) <= min(most, min(lengths) + 1)


def test_a_shorter_row_is_centered(tmp_path: Path) -> None:
    dark = ("cell", torch.zeros(3, 40, 40))
    contact_sheet([[dark], [dark, dark, dark]], tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    upper = (pixels[: len(pixels) // 2] == 0).sum(axis=0)
    columns = np.flatnonzero(upper > 100)
    left, right = columns[0], pixels.shape[1] - 1 - columns[-1]
    assert abs(left - right) <= 3
    assert left > 200


def test_a_loss_of_zero_is_left_out_of_a_logarithmic_plot(tmp_path: Path) -> None:
    """The content loss at the content image itself; it drew a vertical line to the bottom."""
    for name, first in (("zero", 0.0), ("missing", float("nan"))):
        plot_curves({"loss": ([Curve("a", [first, 1.0, 2.0])], {})}, tmp_path / f"{name}.png", ylabel="loss")
    assert (tmp_path / "zero.png").read_bytes() == (tmp_path / "missing.png").read_bytes()
