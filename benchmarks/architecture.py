"""Modules at the top of the package, rooms, and import arrows between them, now or at a commit.

python benchmarks/architecture.py
python benchmarks/architecture.py e5cdd58
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "fast_nst"


def sources(commit: str | None) -> dict[str, str]:
    """The text of every module by its path below the package."""
    if commit is None:
        return {p.relative_to(PACKAGE).as_posix(): p.read_text("utf-8") for p in PACKAGE.rglob("*.py")}

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
        return done.stdout

    names = git("ls-tree", "-r", "--name-only", commit, "fast_nst").splitlines()
    return {n.removeprefix("fast_nst/"): git("show", f"{commit}:{n}") for n in names if n.endswith(".py")}


def imported(text: str) -> Iterator[str]:
    """The modules of this package that a file imports, lazy imports too."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fast_nst."):
            yield str(node.module).removeprefix("fast_nst.")


def room(path: str) -> str:
    """A folder at the top, or a module there: each top module is a room of its own."""
    return path.replace(".", "/").split("/")[0]


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commit", nargs="?", help="measure this commit instead of the working tree")
    modules = sources(parser.parse_args().commit)
    top = sorted(p.removesuffix(".py") for p in modules if "/" not in p and not p.startswith("__"))
    rooms = sorted({p.split("/")[0] for p in modules if "/" in p})
    between = {
        (path, wanted)
        for path, text in modules.items()
        if not path.startswith("__")
        for wanted in imported(text)
        if room(path) != room(wanted)
    }
    lines = sorted(text.count("\n") for text in modules.values() if text)
    print(f"modules at the top: {len(top)} ({', '.join(top)})")
    print(f"rooms: {len(rooms)} ({', '.join(rooms)})")
    print(f"imports of a module from another room: {len(between)}")
    print(f"pairs of rooms with an import: {len({(room(a), room(b)) for a, b in between})}")
    print(f"modules: {len(lines)}, median {lines[len(lines) // 2]} lines, longest {lines[-1]}")


if __name__ == "__main__":
    main()
