"""The picture that stands in for a photograph."""

from __future__ import annotations

import pytest

from fast_nst.models.reference_picture import DEVIATION, MEAN, reference_picture


def test_the_reference_is_the_same_in_every_run_and_like_a_photograph() -> None:
    values = reference_picture(96, 64)
    assert values.mean() == pytest.approx(255 * MEAN, abs=8)
    assert values.std() == pytest.approx(255 * DEVIATION, rel=0.1)
    assert not values.flags.writeable
