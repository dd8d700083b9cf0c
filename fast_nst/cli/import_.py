"""``fast-nst import``: a trained network of another project becomes a style of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fast_nst.cli.common import DONE, guarded, put, say
from fast_nst.errors import InputError

__all__ = ["main"]

ENDINGS = (".pth", ".pt", ".model", ".ckpt", ".bin", ".pkl", ".tar", ".safetensors")

DESCRIPTION = """Import a trained network of another project.

  fast-nst import candy.pth                            -> candy.safetensors, for --style
  fast-nst import mosaic.model --out styles/mosaic.safetensors
"""


@dataclass(frozen=True)
class ImportConfig:
    """Import a trained network of another project."""

    out: Path | None = None
    """the checkpoint to write [default: NAME.safetensors in the current folder]"""
    overwrite: bool = False
    """replace an existing file"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fast_nst.cli.parsing import parse_with_sources

    files, config = parse_with_sources(
        ImportConfig, arguments, prog="fast-nst import", description=DESCRIPTION, help="a .pth file of theirs"
    )
    if len(files) != 1:
        raise InputError(f"give one file to import, got {len(files)}: fast-nst import candy.pth")
    out = config.out or Path(_stem(files[0]) + ".safetensors")
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: a style's file ends in .safetensors")
    if out.exists() and not config.overwrite:
        raise InputError(f"{out} exists; give --overwrite or another --out")
    from fast_nst.io.files import write_reason
    from fast_nst.models.checkpoint import save_checkpoint
    from fast_nst.models.convert import import_network

    network, metadata = import_network(files[0])
    # In fp32: its results are those of the original, not close to them.
    try:
        save_checkpoint(out, network, {**metadata, "style": out.stem}, half=False)
    except OSError as error:
        raise OSError(error.errno, write_reason(error, out), str(out)) from None
    widths = "-".join(str(width) for width in network.config.widths)
    say(f"{metadata['imported']['project']}, {widths}, {network.config.blocks} residual blocks")
    put(str(out))
    return DONE


def _stem(file: str) -> str:
    """A file's name without the endings of model files; other dots belong to the name: ``candy.v1.5``."""
    name = Path(file).name
    while (path := Path(name)).suffix.lower() in ENDINGS and path.stem:
        name = path.stem
    return name
