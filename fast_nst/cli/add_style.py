"""``fast-nst add-style``: a style of one's own in a gallery, in minutes."""

from __future__ import annotations

from fast_nst.cli.common import USAGE, guarded, say
from fast_nst.cli.train import run

__all__ = ["main"]

DESCRIPTION = """Add a style to a gallery: train its rows in minutes, and write them as a small file.

  fast-nst add-style painting.jpg --dataset photos/                      -> painting.safetensors
  fast-nst add-style paintings/ --dataset photos/ --extend my-gallery.safetensors
  fast-nst stylize photo.jpg --style painting.safetensors
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\nfast-nst add-style --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse
    from fast_nst.config import AddStyleConfig

    if not arguments[0].startswith("-"):
        arguments = ["--styles", *arguments]
    return run(parse(AddStyleConfig, arguments, prog="fast-nst add-style", description=DESCRIPTION))
