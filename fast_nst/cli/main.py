"""The command ``fast-nst``: its commands by name, each imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import keyword
from difflib import get_close_matches
from typing import NoReturn

from fast_nst import __version__
from fast_nst.cli.common import DONE, USAGE, guarded, leave, put, say

__all__ = ["entry", "main"]

START = """Fast neural style transfer.

Start with:
  fast-nst stylize photo.jpg --style starry-night         a photo, with a bundled style
  fast-nst stylize clip.mp4 --style the-great-wave        a video, with its sound
  fast-nst stylize 0 --style the-scream                   the webcam, live
  fast-nst train --style painting.jpg --dataset photos/   a style of your own
"""
COMMANDS = {
    "Stylize": {
        "stylize": "stylize images, videos and the webcam with a trained style",
        "styles": "list the bundled styles",
        "web": "serve a page for pictures, videos and the webcam",
        "optimize": "stylize one image with any painting, slowly, without training (Gatys et al.)",
    },
    "Make styles": {
        "train": "train a style from one painting, or a super-resolution model",
        "add-style": "add a style of your own to a gallery, in minutes",
        "import": "import a trained network of another project",
        "export": "export a style to ONNX, PyTorch or OpenVINO",
        "export-page": "write a page that stylizes in the browser, for any static host",
    },
    "Upscale": {
        "upscale": "upscale images with a super-resolution model",
        "models": "list the bundled super-resolution models",
        "evaluate-sr": "measure super-resolution models on standard test sets",
    },
    "Study": {
        "compare": "compare a style with the optimizer: speed and loss",
        "reconstruct": "show what each layer of a loss network keeps of an image and of a style",
        "study": "vary one setting of the optimizer and report its effect",
    },
}
NAMES = [name for group in COMMANDS.values() for name in group]


@guarded
def main(given: list[str]) -> int:
    """The command; returns its exit code."""
    if given in (["--version"], ["-V"]):
        put(f"fast-nst {__version__}")
        return DONE
    if given and given[0] in NAMES:
        # No module can be called import, or have a hyphen.
        name = given[0].replace("-", "_") + "_" * keyword.iskeyword(given[0])
        return _run(f"fast_nst.cli.{name}", given[1:])
    if given in (["--help"], ["-h"], ["help"]):
        put(_overview())
        return DONE
    if given:
        near = get_close_matches(given[0], NAMES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "fast-nst --help lists all commands"
        say(f"error: unknown command {given[0]!r}; {hint}")
        return USAGE
    say(_overview())
    return USAGE


def _overview() -> str:
    """What one does first, and all commands by purpose."""
    lines = [START]
    for title, commands in COMMANDS.items():
        lines += [f"{title}:", *(f"  {name:<12} {words}" for name, words in commands.items()), ""]
    return "\n".join([*lines, "fast-nst COMMAND --help lists the options of a command."])


def entry(module: str | None = None) -> NoReturn:
    """Run ``fast-nst``, or the command of a module such as ``fast_nst.cli.train``, as a program.

    Nothing is imported before it can be interrupted without a traceback.
    """
    # The objects that imports make all stay: looking among them for garbage takes a twentieth of a short run.
    gc.set_threshold(50_000)
    command = main if module is None else guarded(lambda given: _run(module, given))
    leave(command(None))


def _run(module: str, given: list[str]) -> int:
    code: int = importlib.import_module(module).main(given)
    return code
