"""``fast-nst export``: a style for other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fast_nst.cli.common import DONE, USAGE, guarded, put, say
from fast_nst.config import ExportConfig
from fast_nst.errors import InputError

__all__ = ["main"]

DESCRIPTION = """Write a trained style in a format of other programs.

  fast-nst export starry-night                                 -> starry-night.onnx
  fast-nst export my-style.safetensors --format pt2 --out my-style.pt2
  fast-nst export the-scream --format openvino --pixels uint8
  fast-nst export the-scream --fixed-size 480x640              for OpenCV's DNN module
  fast-nst export gallery                                      all its styles, mixed by an input
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\nfast-nst export --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    style_help = "a bundled style's name or a .safetensors file"
    sources, config = parse_with_sources(
        ExportConfig, arguments, prog="fast-nst export", description=DESCRIPTION, help=style_help
    )
    if len(sources) != 1:
        raise InputError(f"one style is exported at a time, got {len(sources)}; fast-nst export STYLE")
    from fast_nst.inference.engine.export import ENDINGS, checked_sizes, export_style
    from fast_nst.inference.styles import choose_style, names_a_gallery

    style, whole = choose_style(sources[0]), names_a_gallery(sources[0])
    name = style.file.stem if whole else style.name
    out = config.out or Path(name + ENDINGS[config.format])
    files = export_style(
        replace(style, weights=None) if whole else style,
        out,
        config.format,
        pixels=config.pixels,
        fixed_size=config.size,
        overwrite=config.overwrite,
    )
    sizes = ", ".join(f"{width} x {height}" for height, width in checked_sizes(config.size))
    say(f"{name} as {config.format}, results verified at {sizes}")
    for file in files:
        put(str(file))
    return DONE
