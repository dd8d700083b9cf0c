"""``fast-nst reconstruct``: content and style reconstructions from a loss network."""

from __future__ import annotations

from fast_nst.cli.common import DONE, USAGE, guarded, put, say
from fast_nst.cli.optimize import content_and_style
from fast_nst.cli.progress import ProgressBar
from fast_nst.config.baseline import ReconstructConfig
from fast_nst.errors import InputError

__all__ = ["main"]

PROG = "fast-nst reconstruct"
DESCRIPTION = """Reconstruct a content image from each layer of a loss network, and a style image's texture.

  fast-nst reconstruct photo.jpg painting.jpg                    -> reconstructions.png
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    words = "the content image, then the style image"
    sources, config = parse_with_sources(
        ReconstructConfig, arguments, prog=PROG, description=DESCRIPTION, help=words
    )
    content, style = content_and_style(sources, PROG)
    if config.out.suffix.lower() != ".png":
        raise InputError(f"--out must end in .png, got {config.out}")
    from fast_nst.baseline.reconstruct import Reconstruction
    from fast_nst.io.images import check_target, load_image

    check_target(config.out, overwrite=config.overwrite)
    reconstruction = Reconstruction(load_image(content), load_image(style), config)
    with ProgressBar(2 * len(config.layers), "picture") as progress:
        for done, total, line in reconstruction:
            progress.show(done, f"{done}/{total}  {line}")
    reconstruction.save(config.out)
    put(str(config.out))
    return DONE
