"""A download is whole or absent, goes on where it broke, and says in one line what is wrong."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fast_nst.cli import train
from fast_nst.config import TrainConfig
from fast_nst.errors import InputError
from fast_nst.training.builders import choose_photos
from fast_nst.training.data import coco
from fast_nst.training.data import download as download_module
from fast_nst.training.data.coco import download_coco, find_coco
from fast_nst.training.data.download import DownloadError, download


def make_zip(seed: int = 0, members: int = 3) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(members):
            archive.writestr(f"train2017/{i}.jpg", np.random.default_rng([seed, i]).bytes(200_000))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `data`; breaks the first so many connections halfway; misbehaves as told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.kind = make_zip(), '"one"', "application/zip"
        self.ranges, self.breaks, self.status, self.lie, self.length = True, 0, 200, 0, True
        self.silent = self.careless = False
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/train2017.zip"

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the game."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.silent:
            time.sleep(1)
            return
        if server.status >= 400:
            self.send_error(server.status)
            return
        fresh = server.careless or self.headers.get("If-Range") in (None, server.etag)
        start = int(wanted[6:-1]) if wanted and server.ranges and fresh else 0
        if start >= len(server.data):
            self.send_error(416)
            return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.kind)
        self.send_header("ETag", server.etag)
        if start:
            last = len(server.data) - 1
            self.send_header("Content-Range", f"bytes {start + server.lie}-{last}/{len(server.data)}")
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "train2017.zip"


def files(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_a_download_arrives_whole_and_leaves_nothing_else(server: Server, target: Path) -> None:
    told, checked = [], []
    size = len(server.data)
    download(
        server.url,
        target,
        expected_size=size,
        progress=lambda *at: told.append(at),
        on_check=lambda *at: checked.append(at),
    )
    assert target.read_bytes() == server.data
    assert files(target) == ["train2017.zip"]
    assert told[-1] == (size, size)
    assert checked == [(200_000, 600_000), (400_000, 600_000), (600_000, 600_000)]


def test_a_broken_connection_is_gone_on_with(server: Server, target: Path) -> None:
    server.breaks = 3
    download(server.url, target, expected_size=len(server.data), pause=0.01)
    assert target.read_bytes() == server.data
    starts = [int(wanted[6:-1]) if wanted else 0 for wanted in server.asked]
    assert starts == sorted(set(starts))
    assert len(starts) == 4


def test_progress_goes_up_to_the_end_over_broken_connections(server: Server, target: Path) -> None:
    server.breaks, told = 2, []
    download(server.url, target, pause=0.01, progress=lambda *at: told.append(at))
    assert told == sorted(told)
    assert told[-1] == (len(server.data), len(server.data))


def interrupted(server: Server, target: Path) -> int:
    """A first call that dies halfway; returns how much it left."""
    server.breaks = 1
    with pytest.raises(DownloadError, match="bytes are kept, run it again to resume"):
        download(server.url, target, retries=0)
    assert files(target) == ["train2017.zip.part", "train2017.zip.part.json"]
    server.asked.clear()
    return (target.parent / "train2017.zip.part").stat().st_size


def test_the_next_call_goes_on_where_the_last_one_died(server: Server, target: Path) -> None:
    have = interrupted(server, target)
    download(server.url, target)
    assert target.read_bytes() == server.data
    assert server.asked == [f"bytes={have}-"]
    assert files(target) == ["train2017.zip"]


def test_a_server_that_ignores_ranges_sends_all_of_it_again(server: Server, target: Path) -> None:
    interrupted(server, target)
    server.ranges = False
    download(server.url, target)
    assert target.read_bytes() == server.data


def test_a_file_that_changed_on_the_server_is_started_again(server: Server, target: Path) -> None:
    interrupted(server, target)
    server.data, server.etag = make_zip(seed=1), '"two"'
    download(server.url, target)
    assert target.read_bytes() == server.data


@pytest.mark.parametrize("change", ["another tag", "another size"])
def test_a_changed_file_is_noticed_even_if_the_server_sends_the_range(
    server: Server, target: Path, change: str
) -> None:
    interrupted(server, target)
    server.careless = True
    if change == "another tag":
        server.data, server.etag = make_zip(seed=1), '"two"'
    else:
        server.data = make_zip(seed=1, members=4)
    download(server.url, target)
    assert target.read_bytes() == server.data


def test_a_server_that_sends_another_range_than_asked_for_is_not_believed(
    server: Server, target: Path
) -> None:
    interrupted(server, target)
    server.lie = 7
    download(server.url, target)
    assert target.read_bytes() == server.data


def test_a_part_of_unknown_origin_is_not_gone_on_with(server: Server, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "train2017.zip.part").write_bytes(b"PK from elsewhere")
    download(server.url, target)
    assert target.read_bytes() == server.data


def test_a_part_that_lacks_only_its_name_is_checked_and_named(server: Server, target: Path) -> None:
    interrupted(server, target)
    (target.parent / "train2017.zip.part").write_bytes(server.data)
    download(server.url, target)
    assert target.read_bytes() == server.data
    assert server.asked == []


def test_a_server_that_does_not_say_the_size_is_enough(server: Server, target: Path) -> None:
    server.length = False
    download(server.url, target, expected_size=len(server.data))
    assert target.read_bytes() == server.data


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/zip"])
def test_an_error_page_is_refused_and_not_kept(server: Server, target: Path, kind: str) -> None:
    server.data, server.kind = b"<!DOCTYPE html><html>please log in</html>", kind
    with pytest.raises(DownloadError, match=r"gives a web page instead|is not a zip \(it starts with b'<"):
        download(server.url, target)
    assert files(target) == []


@pytest.mark.parametrize("says_its_length", [True, False])
def test_another_size_than_expected_is_refused(server: Server, target: Path, says_its_length: bool) -> None:
    server.length = says_its_length
    with pytest.raises(DownloadError, match=f"has {len(server.data):,} bytes, expected were 1,234,567"):
        download(server.url, target, expected_size=1_234_567)
    assert files(target) == []


@pytest.mark.parametrize("where", ["a member", "the directory"])
def test_a_damaged_zip_is_removed(server: Server, target: Path, where: str) -> None:
    data = bytearray(server.data)
    data[1000 if where == "a member" else -300] ^= 1
    server.data = bytes(data) if where == "a member" else bytes(data[:-30])
    with pytest.raises(DownloadError, match=r"arrived damaged .* and was removed; run it again"):
        download(server.url, target)
    assert files(target) == []


def test_too_little_room_is_found_before_anything_is_written(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**7))
    with pytest.raises(DownloadError, match=r"needs 0.07 GB in .*data, 0.01 GB are free; make room"):
        download(server.url, target)
    assert files(target) == []


def test_a_disk_that_fills_up_keeps_what_arrived(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match=r"cannot be saved as .*: the disk is full; what arrived is kept"):
        download(server.url, target)
    assert files(target) == ["train2017.zip.part", "train2017.zip.part.json"]


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"cannot be saved as .*file/train2017.zip"):
        download(server.url, tmp_path / "file" / "train2017.zip")


def test_what_the_server_refuses_is_not_asked_for_again(server: Server, target: Path) -> None:
    server.status = 403
    with pytest.raises(DownloadError, match="the server says 403"):
        download(server.url, target)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again_while_a_part_is_there(server: Server, target: Path) -> None:
    interrupted(server, target)
    server.status = 503
    with pytest.raises(DownloadError, match="bytes are kept"):
        download(server.url, target, retries=2, pause=0.01)
    assert len(server.asked) == 3


def test_without_network_there_is_one_line_with_address_and_path(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/train2017.zip"
    with pytest.raises(DownloadError) as caught:
        download(url, target)
    assert url in str(caught.value)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_given_up(server: Server, target: Path) -> None:
    server.silent = True
    began = time.monotonic()
    with pytest.raises(DownloadError, match="timed out"):
        download(server.url, target, timeout=0.2)
    assert time.monotonic() - began < 2


def test_only_web_addresses_are_opened(target: Path) -> None:
    with pytest.raises(DownloadError, match="must start with http"):
        download("file:///etc/passwd", target)


def test_a_file_that_is_there_is_left_alone(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(server.data)
    download(server.url, target, expected_size=len(server.data))
    assert server.asked == []
    with pytest.raises(DownloadError, match="instead of 99; remove it to download it again"):
        download(server.url, target, expected_size=99)


# ------------------------------------------------------------------------------------------------ where it is


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("FAST_NST_DATA", raising=False)
    return tmp_path


@pytest.mark.parametrize("place", [".cache/fast_nst", "work/data/coco", "work/coco", "own", "own/coco"])
@pytest.mark.parametrize("name", ["train2017", "train2014.zip", "val2017"])
def test_coco_is_found_in_the_usual_places(
    home: Path, monkeypatch: pytest.MonkeyPatch, place: str, name: str
) -> None:
    monkeypatch.setenv("FAST_NST_DATA", str(home / "own"))
    assert find_coco() is None
    path = home / place / name
    path.parent.mkdir(parents=True)
    if path.suffix:
        path.touch()
    else:
        path.mkdir()
        assert find_coco() is None  # an empty folder is no data set
        (path / "1.jpg").touch()
    found = find_coco()
    assert found is not None
    assert found.samefile(path)


def test_the_largest_set_is_taken_wherever_it_lies(home: Path) -> None:
    for path in (home / ".cache/fast_nst/val2017.zip", home / "work/coco/train2014.zip"):
        path.parent.mkdir(parents=True)
        path.touch()
    assert find_coco() == Path("coco/train2014.zip")


def test_the_advice_names_the_places_and_a_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = coco.how_to_get_it()
    target = home / ".cache/fast_nst/train2017.zip"
    command = f"curl --create-dirs -C - -o {target} http://images.cocodataset.org/zips/train2017.zip"
    assert f"{command} (19 GB" in text
    assert "FAST_NST_DATA" in text
    assert "data/coco" in text
    monkeypatch.setenv("FAST_NST_DATA", "/big disk")
    assert "-o '/big disk/train2017.zip'" in coco.how_to_get_it()


def test_coco_is_downloaded_to_where_it_is_found(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(coco.Archive):
        url = server.url

    monkeypatch.setitem(coco.ARCHIVES, "train2017", Local("train2017", len(server.data), 3))
    path = download_coco()
    assert path == home / ".cache/fast_nst/train2017.zip" == find_coco()
    assert path.read_bytes() == server.data


@pytest.fixture
def photographs(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch, material: Path, quick: list[str]
) -> list[str]:
    """The server has four photographs; the flags of a run of one step on them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for i in range(4):
            picture = io.BytesIO()
            pixels = np.random.default_rng(i).integers(0, 256, (600, 400, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(picture, "PNG")
            archive.writestr(f"train2017/{i}.png", picture.getvalue())
    server.data = buffer.getvalue()

    class Local(coco.Archive):
        url = server.url

    monkeypatch.setitem(coco.ARCHIVES, "train2017", Local("train2017", len(server.data), 4))
    Image.new("RGB", (40, 40), (200, 30, 30)).save("red.png")
    flags = [str(material / flag) if (material / flag).is_file() else flag for flag in quick]
    flags[flags.index("photos")] = "coco"
    return [*flags, "--steps", "1", "--validation-images", "0"]


def test_ctrl_c_during_a_download_keeps_what_arrived_and_the_next_command_goes_on(
    photographs: list[str],
    server: Server,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show = train.download_progress
    place = home / ".cache/fast_nst"

    def interrupted() -> Callable[[int, int | None], None]:
        def told(done: int, total: int | None) -> None:
            show()(done, total)
            if done > len(server.data) // 2:
                os.kill(os.getpid(), signal.SIGINT)

        return told

    monkeypatch.setattr(download_module, "CHUNK", 2**16)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs us aside
    with monkeypatch.context() as patch:
        patch.setattr(train, "download_progress", interrupted)
        assert train.main([*photographs, "--download"]) == 130
    signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"
    assert sorted(path.name for path in place.iterdir()) == ["train2017.zip.part", "train2017.zip.part.json"]
    have = (place / "train2017.zip.part").stat().st_size
    server.asked.clear()
    assert train.main([*photographs, "--download"]) == 0
    assert Path("the-waves.safetensors").exists()
    assert server.asked == [f"bytes={have}-"]
    assert (place / "train2017.zip").read_bytes() == server.data


def test_a_style_image_or_loss_network_that_is_missing_is_reported_before_anything_is_downloaded(
    photographs: list[str], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--style", "--vgg-weights"):
        given = [*photographs, flag, "gone.safetensors"]
        if flag in photographs:
            given = list(photographs)
            given[given.index(flag) + 1] = "gone.safetensors"
        assert train.main([*given, "--download"]) == 2
        assert "gone.safetensors" in capsys.readouterr().err
    assert server.asked == []


def test_without_download_coco_is_not_fetched(
    photographs: list[str], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(photographs) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "add --download" in line
    assert server.asked == []


def test_several_processes_do_not_download_into_one_file(photographs: list[str], server: Server) -> None:
    flags = {"style": Path("red.png"), "dataset": "coco", "download": True}
    with pytest.raises(InputError, match="--download is for one process"):
        choose_photos(TrainConfig(**flags), SimpleNamespace(size=2), None)
    assert server.asked == []
    assert len(choose_photos(TrainConfig(**flags), SimpleNamespace(size=1), None)[0].names) == 4
    assert len(choose_photos(TrainConfig(**flags), SimpleNamespace(size=2), None)[0].names) == 4


def test_a_failed_download_is_an_error_of_the_user_and_not_of_ours() -> None:
    assert issubclass(DownloadError, InputError)
