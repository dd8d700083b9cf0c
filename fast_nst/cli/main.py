"""The command ``fast-nst``: its sub-commands by name, each imported only when it is called."""

from __future__ import annotations

import importlib
import keyword
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from fast_nst import __version__
from fast_nst.cli.common import DONE, USAGE, leave, say

__all__ = ["main"]

COMMANDS = {
    "train": "train a style network from one painting, or a network that enlarges",
    "stylize": "stylize pictures with a trained style",
    "styles": "list the bundled styles",
    "import": "make a style of another project's trained network",
    "optimize": "stylize one picture after any painting, slowly, without training",
    "reconstruct": "what a loss network keeps of a photograph and of a painting, layer by layer",
    "study": "vary one choice of the optimizer and report what it does",
    "compare": "measure a style against the optimizer: speed and loss",
    "export": "write a style as ONNX, pt2 or OpenVINO",
    "upscale": "enlarge pictures with a trained network",
    "models": "list the bundled networks that enlarge pictures",
    "evaluate-sr": "measure networks that enlarge on the test sets of the literature",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        print(f"fast-nst {__version__}")
        return DONE
    if given and given[0] in COMMANDS:
        # No module can be called import, or have a hyphen.
        name = given[0].replace("-", "_") + "_" * keyword.iskeyword(given[0])
        module = importlib.import_module(f"fast_nst.cli.{name}")
        code: int = module.main(given[1:])
        return code
    listing = "\n".join(f"  fast-nst {name:<11} {words}" for name, words in COMMANDS.items())
    if given in (["--help"], ["-h"]):
        print(f"Real-time style transfer.\n\n{listing}\n\nfast-nst COMMAND --help lists a command's options.")
        return DONE
    if given:
        near = get_close_matches(given[0], COMMANDS, n=1)
        say(f"error: unknown command {given[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    say(listing)
    return USAGE


def entry() -> NoReturn:
    """The console script."""
    leave(main())
