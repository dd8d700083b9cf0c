"""A visitor's own painting: a style for whoever sent it, mixed with the gallery's, and theirs to keep."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from fast_nst.inference.stylizer import Stylizer

if TYPE_CHECKING:
    from tests.web.server.conftest import Running


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def painting() -> bytes:
    coarse = np.random.default_rng(5).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((60, 45), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def added(server: Running, painting: bytes) -> dict[str, Any]:
    with server.client() as client:
        files = {"painting": ("../my_dream.png", painting, "image/png")}
        answer = client.post("/api/paintings", files=files, timeout=120)
    assert answer.status_code == 201
    style: dict[str, Any] = answer.json()
    return style


def test_it_is_a_style_with_a_title_and_a_thumbnail(client: httpx.Client, added: dict[str, Any]) -> None:
    assert (added["title"], added["mixes"]) == ("my dream", True)
    assert pixels(client.get(f"/{added['thumbnail']}").content).shape[2] == 3


def test_pictures_come_in_it_and_in_mixtures_with_the_gallery(
    client: httpx.Client,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    added: dict[str, Any],
) -> None:
    data = picture(2)
    alone, one, both = (
        pixels(stylized(client, data, parameters={"weights": weights}).content)
        for weights in ({added["id"]: 1}, {"one": 1}, {"one": 1, added["id"]: 1})
    )
    assert alone.shape == pixels(data).shape
    for pair in ((alone, one), (alone, both), (one, both)):
        assert np.abs(pair[0] - pair[1]).mean() > 0.5


def test_it_is_not_among_the_styles_that_others_are_offered(
    client: httpx.Client, added: dict[str, Any]
) -> None:
    info = client.get("/api/info").json()
    assert info["any_painting"] is True
    assert added["id"] not in [style["id"] for style in info["styles"]]


def test_its_file_is_a_style_for_the_command(
    client: httpx.Client, added: dict[str, Any], gallery: Path, tmp_path: Path
) -> None:
    from fast_nst.models.checkpoint import load_gallery

    answer = client.get(f"/api/paintings/{added['id']}")
    assert "my%20dream.safetensors" in answer.headers["content-disposition"]
    (tmp_path / "mine.safetensors").write_bytes(answer.content)
    (tmp_path / "many.safetensors").write_bytes(gallery.read_bytes())
    assert load_gallery(tmp_path / "mine.safetensors").network.config.rows == 7


@pytest.mark.parametrize(
    ("field", "data", "status"),
    [("painting", b"no picture", 415), ("image", b"\x89PNG", 422), ("painting", b"", 415)],
)
def test_what_is_no_painting_is_refused_in_words_and_nothing_stays(
    server: Running, field: str, data: bytes, status: int
) -> None:
    before = server.files()
    with server.client() as client:
        answer = client.post("/api/paintings", files={field: ("a.png", data, "image/png")})
    assert answer.status_code == status
    assert answer.json()["error"]
    assert server.files() == before


def test_an_unknown_painting_is_not_found(client: httpx.Client) -> None:
    answer = client.get("/api/paintings/..%2f..%2fetc%2fpasswd")
    assert answer.status_code == 404
    assert client.get("/api/paintings/painting-0").status_code == 404


def refine(client: httpx.Client, name: str, data: bytes, **texts: str) -> httpx.Response:
    files = {"image": ("photo.png", data, "image/png")}
    return client.post(f"/api/paintings/{name}/refine", files=files, data=texts, timeout=60)


@pytest.mark.slow
def test_pictures_are_in_the_refined_style_once_it_is(
    client: httpx.Client,
    picture: Callable[..., bytes],
    stylized: Callable[..., httpx.Response],
    finished: Callable[..., dict[str, Any]],
    painting: bytes,
    gallery: Path,
    tmp_path: Path,
) -> None:
    files = {"painting": ("dream.png", painting, "image/png")}
    name = client.post("/api/paintings", files=files, timeout=120).json()["id"]
    data, parameters = picture(2, 48, 64), {"weights": {name: 1}}
    stylized(client, data, parameters=parameters)  # with what is loaded then
    file = client.get(f"/api/paintings/{name}")
    answer = refine(client, name, data, minutes="0.1")
    assert answer.status_code == 202
    job = answer.json()["job"]
    assert finished(client, job) == {"state": "done", "place": 0, "progress": 1.0, "message": ""}
    refined = client.get(f"/api/paintings/{name}")
    assert refined.content != file.content
    assert refined.content == client.get(f"/api/jobs/{job}/result").content
    (tmp_path / "refined.safetensors").write_bytes(refined.content)
    (tmp_path / "many.safetensors").write_bytes(gallery.read_bytes())
    expected = Stylizer.load(tmp_path / "refined.safetensors", backend="torch")(pixels(data).astype(np.uint8))
    after = pixels(stylized(client, data, parameters=parameters).content)
    assert np.abs(after - expected).max() <= 1
    client.delete(f"/api/jobs/{job}")


@pytest.mark.slow
def test_refining_can_be_cancelled_and_the_style_stays(
    client: httpx.Client,
    picture: Callable[..., bytes],
    finished: Callable[..., dict[str, Any]],
    added: dict[str, Any],
) -> None:
    job = refine(client, added["id"], picture(2, 48, 64)).json()["job"]
    while client.get(f"/api/jobs/{job}").json()["state"] == "queued":
        time.sleep(0.05)
    client.delete(f"/api/jobs/{job}")
    assert finished(client, job)["state"] == "cancelled"
    assert client.get(f"/api/paintings/{added['id']}").status_code == 200


@pytest.mark.parametrize(
    ("name", "size", "minutes", "status"),
    [
        ("painting-0", (48, 64), "1", 404),
        ("{}", (48, 64), "11", 422),
        ("{}", (48, 64), "x", 422),
        ("{}", (20, 64), "1", 422),
    ],
)
def test_what_cannot_be_refined_is_refused_and_nothing_stays(
    server: Running,
    client: httpx.Client,
    picture: Callable[..., bytes],
    added: dict[str, Any],
    name: str,
    size: tuple[int, int],
    minutes: str,
    status: int,
) -> None:
    before = server.files()
    answer = refine(client, name.format(added["id"]), picture(2, *size), minutes=minutes)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert server.files() == before


@pytest.mark.slow
def test_at_most_so_many_are_kept(
    styles: list[Path], gallery: Path, painting: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fast_nst.config.web import WebConfig
    from fast_nst.web import paintings as module
    from fast_nst.web.engine import Engine
    from fast_nst.web.uploads import Form

    monkeypatch.setattr(module, "_MOST", 1)
    config = WebConfig(style=(str(gallery),), backend="torch", device="cpu")
    engine = Engine(config)
    kept = module.Paintings(config, engine)
    folders = []
    for number in range(2):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        (folders[-1] / "painting").write_bytes(painting)
        form = Form(files={"painting": folders[-1] / "painting"}, names={"painting": "a.png"})
        style = kept.add(form, folders[-1])
    assert list(engine.paintings) == [style.label.id]
    assert [folder.exists() for folder in folders] == [False, True]
