"""How many modules lie between a command and its work, and how many it takes to understand it.

    python benchmarks/main_path.py

Each of the main commands is run on small images, and its calls of the package's functions are traced. Printed
for each:

* path: the modules on the call stack, from the script to the work (a training step, a forward pass, an
  iteration of the optimizer), without those that stand on it only to guard what is called
* returns: how often the path comes back to a module that it has left
* modules: how many modules' functions ran at all, from the start to the first unit of work
"""

from __future__ import annotations

import os
import runpy
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fast_nst"
GUARDS = ("cli/main.py", "cli/common.py")  # parse no options and do no work
PLUMBING = ("errors.py", "serialization.py", "report.py")
COMMANDS = {
    "train.py": (
        "--style {style} --dataset {photos} --run {run} --out {out} --steps 1 --image-size 64 --preset tiny "
        "--warm-start none --compile off --validation-images 0 --workers 0",
        ("training/step.py", "__call__"),
    ),
    "stylize.py": ("{photo} --out {png} --backend torch", ("engine/backends/pytorch.py", "_run_uint8")),
    "compare.py": (
        "--style starry-night-full --content {photo} --sizes 64 --iterations 2 --out {folder} "
        "--loss-network distilled",
        ("baseline/image_optimizer.py", "_evaluate"),
    ),
    "fast-nst optimize": (
        "{photo} {style} --out {png} --steps 2 --size 64 --loss-network distilled",
        ("baseline/image_optimizer.py", "_evaluate"),
    ),
}


class Reached(BaseException):
    """The work has begun."""


class Trace:
    """What runs of the package until a function is called.

    Args:
        script: where the stack ends.
        goal: end of the module's path, and the name of its function.
    """

    def __init__(self, script: Path, goal: tuple[str, str]) -> None:
        self.script, self.goal = script, goal
        self.ran: set[str] = set()
        self.path: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(str(PACKAGE)):
            return
        name = Path(file).relative_to(PACKAGE).as_posix()
        if frame.f_code.co_name != "<module>":
            self.ran.add(name)
        if name.endswith(self.goal[0]) and frame.f_code.co_name == self.goal[1]:
            self.path = self._stack(frame)
            sys.setprofile(None)
            raise Reached

    def _stack(self, frame: FrameType | None) -> list[str]:
        names: list[str] = []
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if file == self.script:
                names.append(file.name)
            elif PACKAGE in file.parents and not file.name.startswith("<"):
                names.append(file.relative_to(PACKAGE).as_posix())
            frame = frame.f_back
        kept = [name for name in reversed(names) if name not in GUARDS]
        return [name for i, name in enumerate(kept) if i == 0 or name != kept[i - 1]]


def main() -> None:
    """Trace and print."""
    from fast_nst.models.model_files import bundled_style_image, find_gallery

    painting = bundled_style_image(find_gallery("gallery"), "starry-night")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["FAST_NST_CACHE"] = str(folder / "cache")
        (folder / "photos").mkdir()
        from fast_nst.io.images import load_image, save_image

        photo = folder / "photos" / "photo.png"
        save_image(photo, load_image(str(painting), short_side=96))
        places = {"style": painting, "photos": photo.parent, "photo": photo, "folder": folder / "out"}
        places |= {"run": folder / "run", "out": folder / "out.safetensors", "png": folder / "out.png"}
        for script, (words, goal) in COMMANDS.items():
            name, *command = script.split()
            file = ROOT / name if name.endswith(".py") else PACKAGE / "__main__.py"
            trace = Trace(file, goal)
            sys.argv = [str(file), *command, *words.format(**places).split()]
            sys.setprofile(trace)
            try:
                runpy.run_path(str(file), run_name="__main__")
            except (Reached, SystemExit):
                pass
            finally:
                sys.setprofile(None)
            modules = trace.ran - {*GUARDS, *PLUMBING}
            returns = len(trace.path) - len(set(trace.path))
            print(f"{script}: {' -> '.join(trace.path) or 'not reached'}")
            print(f"  {len(trace.path) - 1} hops, {returns} returns, {len(modules)} modules ran")


if __name__ == "__main__":
    main()
