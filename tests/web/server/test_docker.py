"""The Dockerfile, as far as it can be checked where there is no docker."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fast_nst.cli.parsing import parse
from fast_nst.config.web import WebConfig

if TYPE_CHECKING:
    from tests.web.server.conftest import Running

ROOT = Path(__file__).parents[3]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
STEPS = [tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line and not line.startswith("#")]


def arguments(kind: str) -> list[str]:
    """The words of an instruction whose arguments are a JSON list."""
    (found,) = [words for name, words in STEPS if name == kind]
    return json.loads(found[found.index("[") :])


def test_it_starts_the_server_with_flags_that_there_are() -> None:
    assert arguments("CMD")[:2] == ["fast-nst", "web"]
    config = parse(WebConfig, arguments("CMD")[2:], prog="test", description="")
    assert (config.host, config.port) == ("0.0.0.0", 8000)
    assert ("EXPOSE", "8000") in STEPS


def test_it_does_not_run_as_root() -> None:
    last = [name for name, _ in STEPS].index("USER")
    assert STEPS[last][1] not in ("root", "0")
    assert "RUN" not in [name for name, _ in STEPS[last:]]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for name, words in STEPS
        if name == "COPY" and "--from" not in words
        for source in words.split()[:-1]
    ]
    assert set(copied) == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_extras_that_it_installs_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = re.findall(r"'\.\[([\w,]+)\]'", TEXT)
    assert set(wanted.split(",")) <= set(extras)


def test_the_healthcheck_passes_on_a_server_and_fails_without_one(server: Running) -> None:
    program, *words = arguments("HEALTHCHECK")
    assert program == "python"
    alive = [word.replace(":8000/", f":{server.port}/") for word in words]
    assert alive != words
    assert subprocess.run([sys.executable, *alive], check=False).returncode == 0
    dead = [word.replace(":8000/", ":9/") for word in words]
    done = subprocess.run([sys.executable, *dead], check=False, capture_output=True)
    assert done.returncode == 1


@pytest.mark.slow
def test_what_it_copies_is_enough_to_install_the_command(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    for name, words in STEPS:
        if name == "COPY" and "--from" not in words:
            *sources, target = words.split()
            for source in sources:
                place = tmp_path / target if target != "./" else tmp_path / source
                subprocess.run(["cp", "-r", ROOT / source, place], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*pip, "--target", tmp_path / "site", str(tmp_path)], check=True)
    code = "import fast_nst.models.model_files as m; print(m.__file__, *m.bundled_galleries())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path / "site",
        capture_output=True,
        text=True,
        check=True,
    )
    where, *styles = done.stdout.split()
    assert where.startswith(str(tmp_path / "site"))
    assert "gallery" in styles
