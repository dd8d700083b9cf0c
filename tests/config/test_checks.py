import math
from dataclasses import dataclass

import pytest

from fast_nst.config.checks import check_least, check_positive
from fast_nst.errors import InputError


@dataclass
class Values:
    style_weight: float | None = 1.0
    steps: int = 1


@pytest.mark.parametrize("value", [-1.0, -math.inf, math.inf, math.nan])
def test_a_value_below_its_limit_or_not_finite_is_named_by_its_flag(value: float) -> None:
    with pytest.raises(
        InputError, match=f"--style-weight must be a finite number of at least 0, got {value}"
    ):
        check_least(Values(value), {"style_weight": 0})
    with pytest.raises(InputError, match="--steps must be at least 3, got 2"):
        check_least(Values(steps=2), {"style_weight": 0, "steps": 3})


def test_the_limit_itself_and_a_value_that_is_not_given_pass() -> None:
    check_least(Values(None, 3), {"style_weight": 0, "steps": 3})
    check_least(Values(0.0), {"style_weight": 0})


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_value_that_has_to_be_positive_is_finite_and_above_0(value: float) -> None:
    check_positive(Values(1e-9), ("style_weight",))
    check_positive(Values(None), ("style_weight",))
    with pytest.raises(InputError, match=f"--style-weight must be a finite number above 0, got {value}"):
        check_positive(Values(value), ("style_weight",))
