from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from fast_nst.errors import InputError
from fast_nst.training.data.download import DownloadError
from fast_nst.web.engine_files import ARCHIVE, FILES, VERSION, Archive, cached_engine, write_engine


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAST_NST_CACHE", str(tmp_path / "cache"))


def test_the_engine_is_downloaded_once(archive: Archive, engine_hashes: dict[str, str]) -> None:
    heard = []
    folder = cached_engine(archive, engine_hashes, progress=lambda done, total: heard.append((done, total)))
    assert {path.name for path in folder.iterdir()} == set(engine_hashes)
    assert heard[-1] == (archive.bytes, archive.bytes)
    gone = archive._replace(url="http://127.0.0.1:9/engine.tgz")
    assert cached_engine(gone, engine_hashes) == folder


def test_another_archive_is_refused_and_removed(archive: Archive, engine_hashes: dict[str, str]) -> None:
    wrong = archive._replace(sha256="0" * 64)
    with pytest.raises(DownloadError, match=r"its SHA-256 is .*, expected was 0000"):
        cached_engine(wrong, engine_hashes)
    assert cached_engine(archive, engine_hashes).is_dir()


def test_a_damaged_file_of_the_cache_is_downloaded_again(
    archive: Archive, engine_hashes: dict[str, str]
) -> None:
    folder = cached_engine(archive, engine_hashes)
    name = next(iter(engine_hashes))
    (folder / name).write_text("changed")
    assert (cached_engine(archive, engine_hashes) / name).read_text() != "changed"


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
    assert VERSION in ARCHIVE.url
    assert all(len(sha256) == 64 for sha256 in [ARCHIVE.sha256, *FILES.values()])
