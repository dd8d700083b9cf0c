"""A Hugging Face Space over fast-nst: a picture, a bundled style and its controls."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fast_nst import Controls, InputError, Picture, Stylizer, bundled_styles
from fast_nst.config.controls import STROKES, Colors
from fast_nst.io.images import fit

__all__ = ["build", "stylize"]

LONGEST_SIDE = 2048  # pixels: free Spaces have two processor cores


@lru_cache(maxsize=4)
def load_stylizer(style: str) -> Stylizer:
    return Stylizer.load(style)


def stylize(
    image: NDArray[np.uint8] | None, style: str, strength: float, stroke: float, colors: str
) -> NDArray[np.uint8]:
    """The stylized image.

    Args:
        image: ``(H, W, 3)`` uint8 RGB; reduced where its longer side has more than 2048 pixels.

    Raises:
        InputError: no image, or a value out of its range.
    """
    if image is None:
        raise InputError("choose a picture first")
    picture = Picture(np.ascontiguousarray(image))
    if max(picture.width, picture.height) > LONGEST_SIDE:
        picture = fit(picture, LONGEST_SIDE)
    controls = Controls(strength, stroke, cast(Colors, colors))
    return load_stylizer(style).with_controls(controls)(picture).rgb


def build() -> Any:
    """The page; needs the package gradio, which Spaces have."""
    import gradio as gr

    def answer(*given: Any) -> NDArray[np.uint8]:
        try:
            return stylize(*given)
        except InputError as error:
            raise gr.Error(str(error)) from None

    styles = list(bundled_styles())
    return gr.Interface(
        answer,
        inputs=[
            gr.Image(type="numpy", image_mode="RGB", label="Picture"),
            gr.Dropdown(styles, value=styles[0], label="Style"),
            gr.Slider(0, 1, value=1, step=0.05, label="Strength"),
            gr.Slider(*STROKES, value=1, step=0.05, label="Stroke size"),
            gr.Radio(["style", "photo", "match"], value="style", label="Colors"),
        ],
        outputs=gr.Image(format="png", label="Stylized"),
        title="Fast neural style transfer",
        flagging_mode="never",
    )


if __name__ == "__main__":
    build().launch()
