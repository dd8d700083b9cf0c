"""The server gives what the command line gives, to each client its own."""

from __future__ import annotations

import io
import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fast_nst.cli.main import main
from fast_nst.web.headers import SECURITY_HEADERS

if TYPE_CHECKING:
    from tests.web.server.conftest import Running

ENGINE = ["--backend", "torch", "--device", "cpu", "--precision", "fp32"]


def command(folder: Path, data: bytes, name: str, out: str, style: Path, *flags: str) -> bytes:
    """What ``fast-nst stylize`` makes of a file."""
    (folder / name).write_bytes(data)
    target = folder / out
    given = [str(folder / name), "--style", str(style), "--out", str(target), *ENGINE, *flags]
    assert main(["stylize", *given]) == 0
    return target.read_bytes()


@pytest.mark.parametrize(
    ("format", "parameters", "fields", "flags"),
    [
        ("PNG", {}, {}, []),
        ("JPEG", {}, {}, []),
        ("PNG", {"strength": 0.5, "stroke": 2}, {}, ["--strength", "0.5", "--stroke", "2"]),
        ("PNG", {"colors": "photo"}, {"size": "40"}, ["--colors", "photo", "--size", "40"]),
    ],
)
def test_a_result_is_the_file_that_the_command_writes(
    client: httpx.Client,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    styles: list[Path],
    tmp_path: Path,
    format: str,
    parameters: dict[str, Any],
    fields: dict[str, Any],
    flags: list[Any],
) -> None:
    data, ending = picture(3, format=format), {"PNG": "png", "JPEG": "jpg"}[format]
    made = stylized(client, data, parameters=parameters, **fields)
    assert made.content == command(tmp_path, data, f"in.{ending}", f"out.{ending}", styles[0], *flags)
    assert made.headers["content-type"] == f"image/{format.lower()}"


def test_styles_of_a_gallery_are_mixed_as_the_command_mixes_them(
    client: httpx.Client,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    gallery: Path,
    tmp_path: Path,
) -> None:
    data = picture(7)
    asked = {"weights": {"one": 3, "two": 1}, "strength": 0.7, "stroke": 1.5, "colors": "match"}
    made = stylized(client, data, parameters=asked).content
    (tmp_path / "in.png").write_bytes(data)
    flags = ["--strength", "0.7", "--stroke", "1.5", "--colors", "match", "--out", f"{tmp_path}/out.png"]
    mixture = f"{gallery}#one:0.75,two:0.25"
    assert main(["stylize", f"{tmp_path}/in.png", "--style", mixture, *flags, *ENGINE]) == 0
    assert made == (tmp_path / "out.png").read_bytes()
    assert made != stylized(client, data, parameters={**asked, "weights": {"one": 1}}).content


def test_a_mask_is_that_of_the_command(
    client: httpx.Client,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    styles: list[Path],
    tmp_path: Path,
) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    (tmp_path / "mask.png").write_bytes(file.getvalue())
    data = picture(4)
    made = stylized(client, data, files={"mask": ("mask.png", file.getvalue())}).content
    assert made == command(tmp_path, data, "in.png", "out.png", styles[0], "--mask", f"{tmp_path}/mask.png")
    before, after = (np.asarray(Image.open(io.BytesIO(d)).convert("RGB")) for d in (data, made))
    assert (before[:, :31] == after[:, :31]).all()
    assert (before[:, 40:] != after[:, 40:]).any()


def test_a_video_is_that_of_the_command_and_keeps_its_sound(
    client: httpx.Client,
    clip: Callable[..., Path],
    stylized: Callable[..., httpx.Response],
    styles: list[Path],
    tmp_path: Path,
) -> None:
    data = clip("in.mp4", frames=12, sound=["aac"]).read_bytes()
    made = stylized(client, data, kind="video", name="clip.mp4")
    expected = command(tmp_path, data, "again.mp4", "out.mp4", styles[0])
    with av.open(io.BytesIO(made.content)) as ours, av.open(io.BytesIO(expected)) as theirs:
        assert len(ours.streams.audio) == 1
        sound = [bytes(packet) for packet in ours.demux(audio=0)]
        assert sound == [bytes(packet) for packet in theirs.demux(audio=0)]
        assert sum(map(len, sound)) > 0
    with av.open(io.BytesIO(made.content)) as ours, av.open(io.BytesIO(expected)) as theirs:
        pairs = list(zip(ours.decode(video=0), theirs.decode(video=0), strict=True))
        assert len(pairs) == 12
        for one, other in pairs:
            assert one.pts == other.pts
            np.testing.assert_array_equal(one.to_ndarray(), other.to_ndarray())
    assert made.headers["content-type"] == "video/mp4"


def test_an_animated_gif_becomes_a_video(
    client: httpx.Client, stylized: Callable[..., httpx.Response]
) -> None:
    frames = [Image.new("RGB", (32, 24), (60 * i, 90, 30)) for i in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100)
    made = stylized(client, file.getvalue(), kind="video", name="fun.gif")
    with av.open(io.BytesIO(made.content)) as video:
        assert len(list(video.decode(video=0))) == 3


def test_clients_at_the_same_time_get_their_own_pictures(
    server: Running,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    styles: list[Path],
    tmp_path: Path,
) -> None:
    def one(seed: int) -> bytes:
        with server.client() as client:
            return stylized(client, picture(seed), ("dots", "dashes")[seed % 2]).content

    with ThreadPoolExecutor(6) as threads:
        made = list(threads.map(one, range(6)))
    for seed, data in enumerate(made):
        expected = command(tmp_path, picture(seed), f"{seed}.png", f"{seed}-out.png", styles[seed % 2])
        assert data == expected
    assert len(set(made)) == 6


def test_a_download_is_named_after_the_upload_and_the_style(
    client: httpx.Client, picture: Callable[..., bytes], stylized: Callable[..., httpx.Response]
) -> None:
    for name, expected in (
        ("holiday.png", "holiday_dots.png"),
        ("../../etc/pa<ss>.png", "pa_ss__dots.png"),
        ("C:\\pictures\\été.png", "été_dots.png"),
        ("...", "result_dots.png"),
    ):
        made = stylized(client, picture(), name=name)
        given = unquote(made.headers["content-disposition"])
        assert given in (f'attachment; filename="{expected}"', f"attachment; filename*=utf-8''{expected}")


def test_the_info_describes_styles_and_limits(client: httpx.Client) -> None:
    info = client.get("/api/info").json()
    mixes = {style["id"]: style["mixes"] for style in info["styles"]}
    assert mixes == {"dots": False, "dashes": False, "one": True, "two": True}
    assert info["limits"] == {"bytes": 10**6, "video_bytes": 2 * 10**7, "pixels": 300000, "side": 16384}
    assert info["engine"] == "cpu fp32 torch"
    assert (info["gallery"], info["any_painting"], info["queue"]) == (True, True, 0)


def test_finished_jobs_can_be_forgotten_and_leave_no_file(
    server: Running,
    client: httpx.Client,
    picture: Callable[..., bytes],
    submit: Callable[..., httpx.Response],
    finished: Callable[..., dict[str, Any]],
) -> None:
    job = submit(client, picture()).json()["job"]
    assert finished(client, job) == {"state": "done", "place": 0, "progress": 1.0, "message": ""}
    assert any(job not in name and "result.png" in name for name in server.files())
    client.delete(f"/api/jobs/{job}")
    assert client.get(f"/api/jobs/{job}").status_code == 404


def until_running(client: httpx.Client, job: str) -> None:
    while client.get(f"/api/jobs/{job}").json()["state"] == "queued":
        time.sleep(0.01)


def test_places_are_told_and_a_queued_or_running_job_can_be_cancelled(
    client: httpx.Client,
    clip: Callable[..., Path],
    submit: Callable[..., httpx.Response],
    finished: Callable[..., dict[str, Any]],
    picture: Callable[..., bytes],
) -> None:
    long = clip("long.mp4", frames=300, size=(320, 240)).read_bytes()
    running = submit(client, long, kind="video").json()["job"]
    until_running(client, running)
    waiting = [submit(client, picture(i)).json()["job"] for i in range(3)]
    assert [client.get(f"/api/jobs/{job}").json()["place"] for job in waiting] == [1, 2, 3]
    assert client.get(f"/api/jobs/{waiting[0]}/result").status_code == 409
    assert client.delete(f"/api/jobs/{waiting[1]}").json()["state"] == "cancelled"
    client.delete(f"/api/jobs/{running}")
    assert finished(client, running)["state"] == "cancelled"
    states = [finished(client, job)["state"] for job in waiting]
    assert states == ["done", "cancelled", "done"]


def test_every_answer_has_the_headers_of_security(server: Running, client: httpx.Client) -> None:
    answers = [
        client.get("/"),
        client.get("/api/info"),
        client.get("/nothing"),
        client.put("/api/info"),
        client.get("/api/info", headers={"Host": "evil.example"}),
        client.post("/api/pictures", headers={"Origin": "https://evil.example"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 405, 421, 403]
    for answer in answers:
        assert {k: answer.headers.get(k) for k in SECURITY_HEADERS} == SECURITY_HEADERS
        assert len(answer.headers.get_list("content-security-policy")) == 1
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        text = raw.makefile("rb").read().decode()
    for name, value in SECURITY_HEADERS.items():
        assert f"{name}: {value}".lower() in text.lower()


def test_a_port_in_use_is_one_line(
    server: Running, styles: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", "--port", str(server.port), "--style", str(styles[0]), *ENGINE]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: port {server.port} of 127.0.0.1 is in use; give another --port, or 0 for any"
    ]


def test_a_missing_package_is_one_line_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fast_nst.cli import web

    monkeypatch.setattr(web.importlib.util, "find_spec", lambda name: None)
    assert main(["web"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("pip install fastapi uvicorn websockets python-multipart")


def ends_cleanly(server: Any, token: str, data: bytes, number: int, code: int) -> None:
    """A signal ends a server that works; nothing of it is left."""
    with server.client(headers={"X-Token": token}) as client:
        for _ in range(3):
            parameters = json.dumps({"weights": {"dots": 1}})
            answer = client.post("/api/videos", files={"video": data}, data={"parameters": parameters})
            assert answer.status_code == 202
    assert server.end(number) == code
    assert list(server.folder.iterdir()) == []
    assert "Traceback" not in "".join(server.said)
    assert server.said[-1] == {130: "error: interrupted", 143: "error: terminated"}[code]


def test_other_machines_need_the_token_that_is_printed(
    launch: Callable[..., Running], clip: Callable[..., Path]
) -> None:
    server = launch(["--host", "0.0.0.0"])
    token = httpx.URL(server.url).params["token"]
    assert len(token) >= 32
    with server.client() as client:
        refused = client.get("/api/info")
        assert refused.status_code == 401
        assert "token" in refused.json()["error"]
        assert client.get("/api/info", headers={"X-Token": token[:-1]}).status_code == 401
        assert client.get("/api/info", headers={"X-Token": token}).status_code == 200
        assert client.get("/api/info", params={"token": token}).status_code == 200
        assert client.get("/api/health").json() == {"ok": True}
        assert client.get("/").status_code == 200
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/api/camera"):
        pass
    with connect(f"ws://127.0.0.1:{server.port}/api/camera?token={token}"):
        pass
    ends_cleanly(server, token, clip("a.mp4", frames=100).read_bytes(), signal.SIGTERM, 143)
    assert sum(token in line for line in server.said) == 1


@pytest.mark.slow
def test_a_token_can_be_fixed(launch: Callable[..., Running], clip: Callable[..., Path]) -> None:
    token = "0123456789abcdef"
    server = launch([], FAST_NST_WEB_TOKEN=token)
    with server.client() as client:
        assert client.get("/api/info").status_code == 401
        assert client.get("/api/info", params={"token": token}).status_code == 200
    ends_cleanly(server, token, clip("a.mp4", frames=100).read_bytes(), signal.SIGINT, 130)


def test_errors_of_a_job_say_nothing_of_the_servers_files(
    client: httpx.Client, submit: Callable[..., httpx.Response], finished: Callable[..., dict[str, Any]]
) -> None:
    answer = submit(client, b"\0" * 5000, kind="video", name="clip.mp4")
    state = finished(client, answer.json()["job"])
    assert state["state"] == "failed"
    assert "not a video" in state["message"]
    assert "/" not in state["message"].replace("https://", "")
    assert json.dumps(state).count("fast-nst-web") == 0
