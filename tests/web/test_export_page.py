from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fast_nst.cli.main import main
from fast_nst.config import GalleryNetConfig
from fast_nst.inference.styles import gallery_styles, mix_rows
from fast_nst.inference.stylizer import Stylizer
from fast_nst.models.checkpoint import load_gallery, save_checkpoint
from fast_nst.models.gallery_files import GalleryRow
from fast_nst.models.gallery_net import GalleryNet
from fast_nst.models.model_files import bundled_galleries, bundled_networks
from fast_nst.web.export_page import new_page, page_files, write_page
from fast_nst.web.headers import SECURITY_HEADERS
from fast_nst.web.models import style_labels, web_gallery, web_model

ADDRESS = re.compile(r"https?://[^\s\"'`)<>]+")
ALLOWED = ("http://www.w3.org/2000/svg", "http://127.0.0.1")


def texts(page: Any) -> Any:
    ours = [page / path.name for path in page_files()]
    return {path.name: path.read_text(encoding="utf-8") for path in ours}


def test_no_file_of_the_page_names_another_host(page: Path) -> None:
    for name, text in texts(page).items():
        found = [address for address in ADDRESS.findall(text) if not address.startswith(ALLOWED)]
        assert not found, f"{name}: {found}"


def test_every_file_that_the_page_names_is_there(page: Path) -> None:
    for name, text in texts(page).items():
        named = re.findall(r'(?:href|src)="([^"#:]+)"', text) if name.endswith(".html") else []
        named += re.findall(r'(?:from|Worker\(|register\(|import\() ?"(?:\./)?([^"]+)"', text)
        for other in named:
            assert (page / other).is_file(), f"{name} names {other}"


@pytest.mark.skipif(shutil.which("node") is None, reason="no node")
@pytest.mark.parametrize(
    "script", sorted(path for path in page_files() if path.suffix == ".js"), ids=attrgetter("name")
)
def test_every_script_parses_as_a_module(script: Path, tmp_path: Path) -> None:
    module = shutil.copy(script, tmp_path / f"{script.stem}.mjs")
    done = subprocess.run(["node", "--check", module], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_element_that_a_script_asks_for_is_there(page: Path) -> None:
    ids = set(re.findall(r'id="([^"]+)"', (page / "index.html").read_text()))
    for name, text in texts(page).items():
        assert set(re.findall(r'\$\("([^"]+)"\)', text)) <= ids, name


def test_every_control_has_a_name(page: Path) -> None:
    html = (page / "index.html").read_text()
    for tag in re.findall(r"<(?:input|canvas|select)[^>]*>", html):
        identifier = re.search(r'id="([^"]+)"', tag)
        labelled = "aria-label" in tag or "aria-hidden" in tag or 'name="size"' in tag
        around = identifier and re.search(rf'<label[^>]*>(?:(?!</label>).)*id="{identifier[1]}"', html, re.S)
        assert labelled or around, tag


def test_nothing_in_the_page_needs_more_than_its_content_security_policy_allows(page: Path) -> None:
    html = (page / "index.html").read_text()
    assert not re.findall(r"\son\w+=|\sstyle=|<style|<script(?![^>]*src)", html)


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2, of #rgb or #rrggbb."""
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    levels = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [":root", '[data-theme="dark"]'])
@pytest.mark.parametrize("text", ["ink", "soft", "accent"])
@pytest.mark.parametrize("ground", ["wall", "panel", "mat", "fill"])
def test_text_has_the_contrast_of_wcag_aa(page: Path, theme: str, text: str, ground: str) -> None:
    css = (page / "page.css").read_text()
    block = css[css.index(f"{theme} {{") :].split("}", 1)[0]
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", block))
    light, dark = sorted((luminance(colors[text]), luminance(colors[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_each_bundled_style_is_there_with_its_painting_and_its_label(page: Path) -> None:
    about = json.loads((page / "model" / "gallery.json").read_text())
    assert {style["id"] for style in about["styles"]} == set(gallery_styles(bundled_galleries()["gallery"]))
    for style in about["styles"]:
        assert (page / style["thumbnail"]).is_file()
        assert style["title"]
        assert style["artist"]
        if about["rows"] is None:
            assert (page / style["model"]).stat().st_size == style["bytes"]
    for name, size in about["engine"].items():
        assert (page / "ort" / name).stat().st_size == size


def test_rows_of_a_gallery_are_mixed_as_the_command_line_mixes_them(page: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run the script with")
    rows = [GalleryRow(None, 1.0)]
    rows += [GalleryRow(name, scale) for name in ("a", "b") for scale in (1.0, 2.0)]
    rows += [GalleryRow("c", 1.0)]
    cases = [
        ({"a": 1.0}, 1.0, 1.0),
        ({"a": 0.3, "b": 0.7}, 0.4, 1.3),
        ({"a": 1.0, "c": 3.0}, 0.0, 2.5),
        ({"c": 2.0}, 0.75, 0.5),
    ]
    (tmp_path / "rows.mjs").write_text((page / "rows.js").read_text())
    script = f"""
    import {{ rowsOf }} from "./rows.mjs";
    const rows = {json.dumps([asdict(row) for row in rows])};
    const cases = {json.dumps(cases)};
    console.log(JSON.stringify(cases.map((c) => rowsOf(rows, ...c)).map(([w, s]) => [Array.from(w), s])));
    """
    (tmp_path / "run.mjs").write_text(script)
    done = subprocess.run([node, str(tmp_path / "run.mjs")], capture_output=True, text=True, check=True)
    for (weights, strength, stroke), (found, left) in zip(cases, json.loads(done.stdout), strict=True):
        mixture = mix_rows(rows, weights, strength=strength, stroke=stroke)
        np.testing.assert_allclose(found, (1 - mixture.content) * mixture.rows, atol=1e-6)
        assert left == pytest.approx(mixture.stroke)


def test_a_gallery_of_the_page_gives_what_the_library_gives(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    file = tmp_path / "many.safetensors"
    rows = [{"style": style, "scale": 1.0} for style in (None, "one", "two")]
    save_checkpoint(file, GalleryNet(GalleryNetConfig(rows=3)), {"rows": rows})
    session = onnxruntime.InferenceSession(web_gallery(file), providers=["CPUExecutionProvider"])
    image = torch.rand(1, 3, 37, 50)
    for weights in ([0, 1, 0], [0.2, 0.3, 0.5]):
        row = torch.tensor([weights], dtype=torch.float32)
        with torch.no_grad():
            wanted = load_gallery(file).network(image, row).clamp(0, 1).numpy()
        given = {session.get_inputs()[0].name: image.numpy(), "style_weights": row[0].numpy()}
        found = session.run(None, given)[0]
        assert np.abs(255 * (found - wanted)).max() <= 1


def test_every_bundled_painting_has_a_label() -> None:
    names = gallery_styles(bundled_galleries()["gallery"])
    assert all(label.title and label.artist and label.year for label in style_labels(names))


@pytest.mark.parametrize("size", [(64, 48), (37, 51), (9, 30)])
def test_a_network_of_one_style_gives_what_the_command_line_gives(size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = bundled_networks()["the-scream-full"]
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(web_model(file), providers=["CPUExecutionProvider"])
    given = (rgb.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    found = session.run(None, {session.get_inputs()[0].name: given})[0][0].transpose(1, 2, 0)
    expected = Stylizer.load(file, backend="torch", precision="fp32").run_uint8(rgb[None])[0]
    assert np.abs(np.rint(255 * found) - expected.astype(float)).max() <= 1


def test_the_headers_file_holds_the_headers_of_the_server(page: Path) -> None:
    lines = (page / "_headers").read_text().splitlines()
    assert lines[0] == "/*"
    assert dict(line.strip().split(": ", 1) for line in lines[1:]) == SECURITY_HEADERS


def test_the_service_worker_keeps_files_that_are_there(page: Path) -> None:
    script = (page / "sw.js").read_text()
    kept = json.loads(re.search(r"const FIRST = (\[.*\]);", script)[1])
    assert {"./", "index.html", "app.js", "worker.js", "model/gallery.json"} <= set(kept)
    assert all((page / name).exists() for name in kept)


def test_the_service_worker_changes_with_any_file_and_with_nothing_else(
    page: Path, engine_folder: Path, engine_hashes: dict[str, str], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    write_page(again, engine=engine_folder, engine_files=engine_hashes)
    assert (again / "sw.js").read_bytes() == (page / "sw.js").read_bytes()
    (again / "ort" / "ort.extra.mjs").write_text("another file of the engine")
    write_page(again, engine=engine_folder, engine_files=engine_hashes)
    assert (again / "sw.js").read_bytes() != (page / "sw.js").read_bytes()


@pytest.fixture
def served(page: Path, served_page: Callable[[Path], str]) -> Any:
    return served_page(page)


def test_serve_sends_the_headers_with_every_answer(served: Any) -> None:
    for path, kind in {
        "": "text/html",
        "app.js": "text/javascript",
        "ort/ort.wasm.bundle.min.mjs": "text/javascript",
        "ort/ort-wasm-simd-threaded.wasm.gz": "application/octet-stream",
        "manifest.webmanifest": "application/manifest+json",
    }.items():
        with urllib.request.urlopen(served + path, timeout=10) as answer:
            assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
            assert answer.headers.get_content_type() == kind, path
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(served + "api/info", timeout=10)
    assert error.value.code == 404
    error.value.close()


def test_a_folder_in_use_is_refused_without_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.txt").write_text("mine")
    assert main(["export-page", str(tmp_path)]) == 2
    assert "holds files; give --overwrite or another folder" in capsys.readouterr().err
    assert main(["export-page", str(tmp_path / "kept.txt")]) == 2
    assert "is a file; give a folder" in capsys.readouterr().err
    assert new_page(str(tmp_path), overwrite=True) == tmp_path


def test_the_command_wants_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export-page"]) == 2
    assert "fast-nst export-page site/" in capsys.readouterr().err
    assert main(["export-page", "a", "b"]) == 2
    assert "one folder is written, got 2" in capsys.readouterr().err


def test_an_engine_of_another_version_is_refused(
    tmp_path: Path, engine_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-page", str(tmp_path / "site"), "--ort", str(engine_folder)]) == 2
    assert "has another SHA-256" in capsys.readouterr().err


def test_scripts_parse(page: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to parse them with")
    for path in page.glob("*.js"):
        module = tmp_path / f"{path.stem}.mjs"
        module.write_text(path.read_text())
        done = subprocess.run([node, "--check", str(module)], capture_output=True, text=True)
        assert not done.returncode, done.stderr


@pytest.mark.parametrize("words", [["x"], ["-1"], ["70000"], ["8000", "9000"], ["--help"]])
def test_a_wrong_port_of_the_server_in_the_folder_is_one_line(page: Path, words: list[str]) -> None:
    command = [sys.executable, str(page / "serve.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python serve.py [PORT]")
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_one_line(page: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, str(page / "serve.py"), str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1
