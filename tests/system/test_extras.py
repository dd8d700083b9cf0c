"""Optional features name the packages that they need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from fast_nst.system.extras import PACKAGES, how_to_install

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_packages_are_those_of_the_project_file() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(PACKAGES) <= set(extras)
    for extra, packages in PACKAGES.items():
        assert {re.split(r"[<>=!~]", wanted)[0] for wanted in extras[extra]} == set(packages)


def test_the_command_needs_no_index_that_has_this_project() -> None:
    assert how_to_install("openvino") == "pip install openvino onnx"
    assert how_to_install("cluster") == "pip install 'ray[data]'"
