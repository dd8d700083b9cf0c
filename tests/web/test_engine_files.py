from __future__ import annotations

import gzip
import os
import tarfile
from pathlib import Path

import pytest

from fast_nst.errors import InputError
from fast_nst.training.data.download import DownloadError
from fast_nst.web.engine_files import ADDRESS, FILES, VERSION, cached_engine, write_engine


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))


def test_the_engine_is_downloaded_once(engine_address: str, engine_hashes: dict[str, str]) -> None:
    heard: list[int] = []
    folder = cached_engine(
        engine_hashes, address=engine_address, progress=lambda done, total: heard.append(done)
    )
    assert {path.name for path in folder.iterdir()} == set(engine_hashes)
    assert heard[-1] == sum(path.stat().st_size for path in folder.iterdir())
    assert cached_engine(engine_hashes, address="http://127.0.0.1:9") == folder


def test_another_file_is_refused_and_removed(engine_address: str, engine_hashes: dict[str, str]) -> None:
    wrong = engine_hashes | {next(iter(engine_hashes)): "0" * 64}
    with pytest.raises(DownloadError, match=r"its SHA-256 is .*, expected was 0000"):
        cached_engine(wrong, address=engine_address)
    assert cached_engine(engine_hashes, address=engine_address).is_dir()


def test_a_damaged_file_of_the_cache_is_downloaded_again(
    engine_address: str, engine_hashes: dict[str, str]
) -> None:
    folder = cached_engine(engine_hashes, address=engine_address)
    name = next(iter(engine_hashes))
    (folder / name).write_text("changed")
    assert (cached_engine(engine_hashes, address=engine_address) / name).read_text() != "changed"


def fake_npm(folder: Path, packed: Path | None) -> None:
    """A program of that name that leaves an archive where it is asked to, or fails."""
    program = folder / "npm"
    action = "exit 1" if packed is None else f'cp "{packed}" "${{@: -1}}/engine.tgz"'
    program.write_text(f"#!/bin/bash\n{action}\n")
    program.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for npm is a shell script")
@pytest.mark.parametrize("content", ["the files", "other files", "no files"])
def test_npm_packs_the_engine_and_only_the_expected_files_are_taken(
    content: str,
    engine_folder: Path,
    engine_hashes: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, packed = tmp_path / "packed", tmp_path / "engine.tgz"
    source.mkdir()
    for path in engine_folder.iterdir() if content != "no files" else ():
        (source / path.name).write_bytes(path.read_bytes() + b"x" * (content == "other files"))
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(source, "package/dist")
    fake_npm(tmp_path, packed)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("fast_nst.web.engine_files.ADDRESS", "http://127.0.0.1:9")  # for no other computer
    if content == "the files":
        folder = cached_engine(engine_hashes)
        assert {path.name for path in folder.iterdir()} == set(engine_hashes)
    else:
        with pytest.raises(DownloadError):
            cached_engine(engine_hashes)


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_folder_of_other_files_is_refused_by_name(
    harm: str, engine_folder: Path, engine_hashes: dict[str, str], tmp_path: Path
) -> None:
    source = tmp_path / "given"
    source.mkdir()
    for path in engine_folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    name = list(engine_hashes)[-1]
    if harm == "missing":
        (source / name).unlink()
    else:
        (source / name).write_text("changed")
    with pytest.raises(InputError, match=f"{name}.*must hold ONNX Runtime Web {VERSION}"):
        write_engine(source, tmp_path / "ort", engine_hashes)


def test_compiled_code_is_written_compressed_and_the_rest_as_it_is(
    engine_folder: Path, engine_hashes: dict[str, str], tmp_path: Path
) -> None:
    write_engine(engine_folder, tmp_path / "ort", engine_hashes)
    for name in engine_hashes:
        written = tmp_path / "ort" / (f"{name}.gz" if name.endswith(".wasm") else name)
        data = gzip.decompress(written.read_bytes()) if written.suffix == ".gz" else written.read_bytes()
        assert data == (engine_folder / name).read_bytes()
    assert "MIT License" in (tmp_path / "ort" / "LICENSE.txt").read_text()
    assert VERSION in (tmp_path / "ort" / "LICENSE.txt").read_text()


def test_what_is_pinned_is_one_version() -> None:
    assert VERSION in ADDRESS
    assert all(len(sha256) == 64 for sha256 in FILES.values())
