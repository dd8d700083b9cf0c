"""The house rules of the README's design, held to by reading the source."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fast_nst"
PAGE = PACKAGE / "web" / "page"  # files that the exported page consists of; a program of its own among them
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PAGE)
SCRIPTS = [ROOT / "train.py", ROOT / "stylize.py", ROOT / "compare.py"]
# Imports only ever point down this list of rooms.
ORDER = [
    "errors",
    "serialization",
    "report",
    "system",
    "io",
    "config",
    "models",
    "inference",
    "evaluation",
    "training",
    "baseline",
    "web",
    "cli",
]
MODULES_AT_THE_TOP = 4
MOST_LINES_OF_A_MODULE = 325
MOST_LINES_OF_A_FUNCTION = 55


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def entry(path: Path) -> str:
    """The entry of `ORDER` that a module belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def code_of(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs, at the top or inside functions; what only a type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        if not is_for_types(child):
            yield child
            yield from code_of(child)


def imported(path: Path) -> Iterator[str]:
    """The dotted names of every module a file imports, lazy imports too."""
    for node in code_of(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{label(path)}: relative import, line {node.lineno}"
            if node.module == "fast_nst":
                yield from (f"fast_nst.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file with the dotted name of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


every_module = pytest.mark.parametrize("path", MODULES, ids=label)
# The package's face names everything, and imports it when it is asked for.
ordered = [p for p in MODULES if p.parent != PACKAGE or not p.name.startswith("__")]
library = [p for p in ordered if entry(p) != "cli"]
every_file = pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=label)


@pytest.mark.parametrize("path", ordered, ids=label)
def test_imports_point_down(path: Any) -> None:
    assert entry(path) in ORDER, f"add {entry(path)} to ORDER at its place"
    for name in imported(path):
        if name.startswith("fast_nst.") and name != "fast_nst.__version__":
            wanted = name.split(".")[1]
            assert wanted in ORDER, f"{name}: import from the module where it lives"
            assert ORDER.index(wanted) <= ORDER.index(entry(path)), f"{label(path)} imports {name}"


def test_the_tree_shows_the_architecture() -> None:
    top = [p.stem for p in MODULES if p.parent == PACKAGE and not p.name.startswith("__")]
    assert len(top) <= MODULES_AT_THE_TOP, f"{top}: put a module into the room it belongs to"
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    assert rooms | set(top) == set(ORDER)


def test_modules_of_one_package_do_not_import_in_circles() -> None:
    needs = {label(p).removesuffix(".py").replace("/", "."): set(imported(p)) for p in MODULES}
    while ready := [name for name, wanted in needs.items() if not wanted & (needs.keys() - {name})]:
        for name in ready:
            del needs[name]
    assert not needs


@pytest.mark.parametrize(
    ("number", "home"),
    [(255, "io/pixels"), (0.485, "models/vgg"), (0.229, "models/vgg"), (1e-5, "config/network")],
)
def test_a_pixel_convention_has_one_home(number: float, home: str) -> None:
    def numbers(path: Path) -> set[float]:
        constants = (n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant))
        return {v for v in constants if isinstance(v, int | float) and not isinstance(v, bool)}

    assert {label(path) for path in MODULES if number in numbers(path)} == {f"fast_nst/{home}.py"}


def test_pillow_is_known_only_at_the_pixel_boundary() -> None:
    users = {label(p) for p in MODULES if any(name.split(".")[0] == "PIL" for name in imported(p))}
    assert {Path(user).parent.as_posix() for user in users} == {"fast_nst/io"}


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_with_telemetry_is_imported_in_one_place(engine: str) -> None:
    assert not {label(p) for p in MODULES if any(name.split(".")[0] == engine for name in imported(p))}
    assert f"fast_nst/system/{engine}.py" in map(label, MODULES)


@every_file
def test_nothing_runs_what_a_file_or_a_user_says(path: Any) -> None:
    for name, call in calls(path):
        last = name.split(".")[-1]
        assert name not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), name
        assert not name.startswith(("pickle.", "marshal.", "shelve.", "dill.")), name
        assert last not in ("extractall", "unpack_archive"), name
        assert keywords(call).get("shell", "False") == "False", name
        assert keywords(call).get("allow_pickle", "False") == "False", name
        if name == "torch.load" or last == "load_state_dict_from_url":
            assert keywords(call).get("weights_only") == "True", name
    assert not {"pickle", "marshal", "shelve", "dill"} & set(imported(path))


@pytest.mark.parametrize("path", library, ids=label)
def test_only_the_command_line_prints_and_exits(path: Any) -> None:
    assert not {"print", "sys.exit", "exit", "quit", "os._exit"} & {name for name, _ in calls(path)}
    assert "SystemExit" not in {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)}


@every_module
def test_nothing_happens_on_import(path: Any) -> None:
    plain = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
        ast.AugAssign,
        ast.If,
    )
    for node in tree(path).body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert is_text or isinstance(node, plain), f"line {node.lineno}"


@every_file
def test_a_module_opens_with_what_it_is_for(path: Any) -> None:
    if path.stat().st_size:
        assert ast.get_docstring(tree(path))


@every_file
def test_what_a_module_offers_is_there_and_has_a_docstring(path: Any) -> None:
    body = tree(path).body
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    defined = {n.name: n for n in body if isinstance(n, kinds)}
    for node in body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            for name in ast.literal_eval(node.value):
                if name in defined:
                    assert ast.get_docstring(defined[name]), f"{name} has no docstring"


@every_module
def test_modules_and_functions_stay_short_enough_to_read(path: Any) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_MODULE
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, node.name


def loaded_after(code: str) -> set[str]:
    """The top-level modules a new interpreter has loaded after running the code."""
    names = "' '.join({name.split('.')[0] for name in sys.modules})"
    report = f"import atexit, sys; atexit.register(lambda: print('\\n' + {names}))\n"
    done = subprocess.run(
        [sys.executable, "-c", report + code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_costs_nothing() -> None:
    assert not {"torch", "numpy", "PIL"} & loaded_after("import fast_nst")


@pytest.mark.parametrize("script", ["train.py", "stylize.py", "compare.py"])
def test_help_does_not_wait_for_torch(script: str) -> None:
    code = f"""
import runpy, sys
sys.argv = [{script!r}, "--help"]
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    assert end.code in (0, None), end.code
"""
    found = loaded_after(code)
    assert "tyro" in found
    assert not {"torch", "torchvision", "matplotlib", "cv2", "av"} & found
