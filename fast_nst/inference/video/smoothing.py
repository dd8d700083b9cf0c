"""Temporal smoothing: each result is blended with the previous one, warped by optical flow.

The flow is dense (DIS: Kroeger, Timofte, Dai and Van Gool 2016), between the *inputs*, which do not flicker.
Where the warped input differs from the new one (a disocclusion, a change of light) nothing is blended, and a
cut resets the state.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fast_nst.io.images import MAX_LEVEL, Picture
from fast_nst.system.opencv import opencv

__all__ = ["TemporalSmoother"]

# How much the warped input may differ from the new one, in gray levels after smoothing over _AROUND pixels:
# at this difference the previous result counts e^-1 of what it counts where there is none. Camera noise of 5
# levels leaves 1 to 2 after the smoothing.
_DOUBT = 8.0
_AROUND = 5
# A cut: less than this share of the picture can be found in the previous one.
_CUT = 0.4
_SMALLEST = 16  # pixels a side; the flow's patches are 8 wide, on a picture at half size


class TemporalSmoother:
    """Blends the results of a video, one after the other.

    Args:
        strength: weight of the previous result where the flow is reliable, 0 to below 1. Independent
            noise of variance v between frames falls to v (1 - s)^2 / (1 + s).
    """

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._cv = opencv()
        self._flow = self._cv.DISOpticalFlow_create(self._cv.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._content: NDArray[np.uint8] | None = None
        self._result: NDArray[np.float32] | None = None
        self._grid: NDArray[np.float32] | None = None
        self.cuts = 0

    def __call__(self, content: Picture, result: Picture) -> Picture:
        """The network's result for a content frame, blended with the previous result."""
        gray = self._cv.cvtColor(content.rgb, self._cv.COLOR_RGB2GRAY)
        fresh = result.rgb.astype(np.float32)
        blended = fresh
        if self._content is not None and self._result is not None and self._content.shape == gray.shape:
            blended = self._blend(gray, self._content, fresh, self._result)
        self._content, self._result = gray, blended
        # The state is not rounded: a blend that moves by less than half a level a frame would stand still.
        levels = np.rint(blended).clip(0, MAX_LEVEL).astype(np.uint8)
        return Picture(levels, result.alpha)

    def _blend(
        self,
        gray: NDArray[np.uint8],
        before: NDArray[np.uint8],
        fresh: NDArray[np.float32],
        last: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """``(H, W, 3)``: the new picture, with the last result where the last input, moved, looks like it."""
        cv, where = self._cv, self._from(gray, before)
        moved = cv.remap(before, where, None, cv.INTER_LINEAR, borderMode=cv.BORDER_REPLICATE)
        difference = cv.blur(cv.absdiff(moved, gray).astype(np.float32), (_AROUND, _AROUND))
        trust = np.exp(-np.square(difference / _DOUBT)) * _inside(where)
        if trust.mean() < _CUT:
            self.cuts += 1
            return fresh
        # Cubic: bilinear weights would blur a little more with every frame.
        carried = cv.remap(last, where, None, cv.INTER_CUBIC, borderMode=cv.BORDER_REPLICATE)
        blended: NDArray[np.float32] = fresh + (self._strength * trust)[..., None] * (carried - fresh)
        return blended

    def _from(self, gray: NDArray[np.uint8], before: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(H, W, 2)``: where each pixel of the new picture was in the last one, x and y."""
        height, width = gray.shape
        if self._grid is None or self._grid.shape[:2] != gray.shape:
            self._grid = np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
        if min(height, width) < _SMALLEST:
            return self._grid
        flow: NDArray[np.float32] = self._flow.calc(gray, before, None)
        return np.add(self._grid, flow)


def _inside(where: NDArray[np.float32]) -> NDArray[np.bool_]:
    """``(H, W)``: which pixels were in the picture before."""
    height, width = where.shape[:2]
    x, y = where[..., 0], where[..., 1]
    kept: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return kept
