"""Hostile requests: the server lives, answers in words, and writes nothing."""

from __future__ import annotations

import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    from tests.web.server.conftest import Running

GOOD = {"weights": {"dots": 1}}


def png(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bomb(format: str) -> bytes:
    """Few bytes, more pixels than the limit."""
    file = io.BytesIO()
    Image.new("RGB", (1200, 1200)).save(file, format)
    return file.getvalue()


def form(image: bytes = b"", parameters: Any = GOOD, **more: Any) -> dict[str, Any]:
    """The arguments of a post of a picture."""
    text = parameters if isinstance(parameters, str | bytes) else json.dumps(parameters)
    return {"files": {"image": ("a.png", image)}, "data": {"parameters": text}, **more}


@pytest.fixture
def tiny(picture: Callable[..., bytes]) -> bytes:
    return picture()


@pytest.fixture(autouse=True)
def _lives_and_has_written_nothing(server: Running, client: httpx.Client) -> Iterator[Any]:
    yield
    assert client.get("/api/health").json() == {"ok": True}
    until = time.monotonic() + 20  # an upload that was cut off may not have been noticed yet
    while server.files() and time.monotonic() < until:
        time.sleep(0.05)
    assert server.files() == []


@pytest.fixture(autouse=True, scope="module")
def _still_stylizes_after_all_of_it(
    server: Running, picture: Callable[..., bytes], stylized: Callable[..., httpx.Response]
) -> Iterator[Any]:
    yield
    with server.client() as client:
        made = stylized(client, picture())
        assert Image.open(io.BytesIO(made.content)).size == (64, 48)
        client.delete(made.url.path.removesuffix("/result"))


def in_words(answer: httpx.Response, status: int, *words: str) -> None:
    """One line of JSON that says what is wrong."""
    assert answer.status_code == status, answer.text
    reason = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert "\n" not in reason
    assert "Traceback" not in reason
    assert "/tmp" not in reason
    assert all(word in reason for word in words), reason


@pytest.mark.parametrize(
    ("image", "status", "word"),
    [
        (b"", 415, "empty"),
        (b"hello", 415, "text"),
        (b"<html>", 415, "HTML"),
        (b"%!PS", 415, "drawing"),
        (b"\0" * 1000, 415, "not a picture"),
        (png(65535, 65535), 413, "limit"),
        (png(2**31 - 1, 2**31 - 1), 413, "limit"),
        (png(0, 0), 415, ""),
        (bomb("GIF"), 413, "limit"),
        (bomb("JPEG"), 413, "limit"),
        (bomb("WEBP"), 413, "limit"),
        (bomb("TIFF")[:2000], 413, "limit"),
        (b"\0" * 1_000_001, 413, "larger than 1 MB"),
        (b"\0" * 3_000_000, 413, "too large"),
    ],
    ids=range(14),
)
def test_pictures_that_are_none_or_too_large_are_refused(
    client: httpx.Client, image: Any, status: int, word: str
) -> None:
    in_words(client.post("/api/pictures", **form(image)), status, word)


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ("", "JSON"),
        ("[" * 4000, "JSON"),
        ("NaN", "object"),
        ({"weights": {}}, "weights"),
        ({"weights": {"dots": "1"}}, "number"),
        ({"weights": {"dots": True}}, "number"),
        ({"weights": {"dots": -1}}, "from 0"),
        ('{"weights": {"dots": NaN}}', "number"),
        ('{"weights": {"dots": 1e999}}', "number"),
        ({"weights": {"dots": 0}}, "above 0"),
        ({"weights": {"../../etc/passwd": 1}}, "unknown style"),
        ({"weights": {"dot": 1}}, "did you mean 'dots'"),
        ({"weights": {"dots": 1, "dashes": 1}}, "that can be mixed are one, two"),
        ({"weights": {"dots": 1, "one": 1}}, "cannot be mixed"),
        ({"weights": {str(i): 1 for i in range(5)}}, "at most 4"),
        ({**GOOD, "strength": 2}, "from 0 to 1"),
        ({**GOOD, "stroke": 0}, "from 0.25 to 4"),
        ({**GOOD, "colors": "red"}, "style, photo or match"),
        ({**GOOD, "colors": ["style"]}, "style, photo or match"),
        ({**GOOD, "path": "/etc/passwd"}, "unknown parameter"),
        ({**GOOD, "stroke\x1b[2J": 1}, "unknown parameter"),
    ],
    ids=range(21),
)
def test_parameters_of_a_wrong_kind_are_refused(
    client: httpx.Client, tiny: bytes, parameters: str | dict[str, Any], word: str
) -> None:
    in_words(client.post("/api/pictures", **form(tiny, parameters)), 422, word)


@pytest.mark.parametrize(
    ("request_", "status", "word"),
    [
        ({"json": {}}, 415, "multipart"),
        ({"data": {"parameters": "{}"}}, 415, "multipart"),
        ({"files": {"parameters": (None, json.dumps(GOOD))}}, 422, "no file"),
        ({"files": {"image": b"x", "shell": b"x"}}, 422, "unknown field"),
        ({"files": [("image", b"x"), ("image", b"y")]}, 422, "twice"),
        ({"files": {"image": b"x"}, "data": {"parameters": "x" * 5000}}, 413, "parameters is larger"),
        ({"files": {"image": b"x"}, "data": {"parameters": b"\xff\xfe"}}, 422, "UTF-8"),
        ({"files": [("image", b"x")], "data": {"size": "-1", "parameters": json.dumps(GOOD)}}, 422, "size"),
        (
            {"files": [("image", b"x")], "data": {"size": "9" * 9, "parameters": json.dumps(GOOD)}},
            422,
            "size",
        ),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 415, "multipart"),
        ({"content": b"x" * 99, "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, ""),
        (
            {
                "content": b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc',
                "headers": {"Content-Type": "multipart/form-data; boundary=x"},
            },
            400,
            "cut off",
        ),
    ],
    ids=range(12),
)
def test_forms_of_a_wrong_kind_are_refused(
    client: httpx.Client, request_: dict[str, Any], status: int, word: str
) -> None:
    in_words(client.post("/api/pictures", **request_), status, word)


@pytest.mark.parametrize(
    "path",
    [
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
        "/api/styles/..%2f..%2fetc%2fpasswd",
        "/api/styles/%00.jpg",
        "/api/jobs/..%2f..",
        "/api/jobs/../../etc/passwd/result",
        "/api/jobs/%0d%0aSet-Cookie:x/result",
    ],
)
def test_no_path_of_a_client_reaches_a_file(server: Running, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
    head, body = answer_to(server, request.encode())
    assert head.startswith("HTTP/1.1 404")
    assert b"root:" not in body
    assert "error" in json.loads(body)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "192.168.0.1"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_are_refused(
    server: Running, client: httpx.Client, tiny: bytes, headers: dict[str, Any], status: int
) -> None:
    in_words(client.post("/api/pictures", **form(tiny), headers=headers), status)
    given = {"Host": f"127.0.0.1:{server.port}", **HANDSHAKE, **headers}
    lines = [f"{name}: {value}" for name, value in given.items()]
    head, body = answer_to(server, "\r\n".join(["GET /api/camera HTTP/1.1", *lines, "", ""]).encode())
    assert head.startswith(f"HTTP/1.1 {status}")
    assert "error" in json.loads(body)


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


def answer_to(server: Any, request: bytes) -> tuple[str, bytes]:
    """Head and body of the answer to the bytes of a request, after which the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(request)
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    return head.decode(), body


def test_a_page_of_this_server_is_let_in(
    server: Running, client: httpx.Client, tiny: bytes, finished: Callable[..., dict[str, Any]]
) -> None:
    origin = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    answer = client.post("/api/pictures", **form(tiny), headers=origin)
    assert answer.status_code == 202
    assert "access-control-allow-origin" not in answer.headers
    job = answer.json()["job"]
    assert finished(client, job)["state"] == "done"
    client.delete(f"/api/jobs/{job}")


@pytest.mark.parametrize(
    "request_",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/x\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /api/camera HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=range(8),
)
def test_what_is_no_http_gets_an_answer_and_is_closed(server: Running, request_: bytes) -> None:
    try:
        head, body = answer_to(server, request_)
    except ConnectionError:  # closed while we still sent
        return
    assert head.startswith("HTTP/1.1 400")
    assert "error" in json.loads(body)


def test_an_upload_cut_off_leaves_nothing(server: Running, tiny: bytes) -> None:
    head = f"POST /api/pictures HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(head.encode() + part.encode() + tiny)


def test_an_upload_whose_size_is_not_told_is_counted(client: httpx.Client) -> None:
    def body() -> Iterator[Any]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * 65536

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    in_words(client.post("/api/pictures", content=body(), headers=headers), 413, "larger")


def test_a_hundred_sockets_that_say_nothing_keep_nobody_out(server: Running, client: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            raw = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            raw.sendall(b"GET / HT")
        with server.client() as other:
            assert other.get("/api/health").json() == {"ok": True}


def test_cameras_are_limited(server: Running) -> None:
    address = f"ws://127.0.0.1:{server.port}/api/camera"
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(connect(address))
        with pytest.raises(InvalidStatus) as refused, connect(address):
            pass
        assert refused.value.response.status_code == 503
        assert "cameras" in json.loads(refused.value.response.body)["error"]
    until = time.monotonic() + 10
    while True:  # those that have left are not counted
        try:
            with connect(address):
                return
        except InvalidStatus:
            assert time.monotonic() < until


@pytest.mark.parametrize(
    "message",
    ["", "x", "{}", '{"weights": {"nothing": 1}}', "[" * 100_000, b"", b"x" * 100, png(60000, 60000)],
    ids=range(8),
)
def test_a_camera_that_sends_nonsense_is_told_so_and_can_go_on(
    server: Running, picture: Callable[..., bytes], message: Any
) -> None:
    with connect(f"ws://127.0.0.1:{server.port}/api/camera") as camera:
        camera.send(json.dumps(GOOD))
        camera.send(message)
        assert "error" in json.loads(camera.recv(20))
        camera.send(picture(format="JPEG"))
        made = Image.open(io.BytesIO(camera.recv(20)))
        assert (made.format, made.size) == ("JPEG", (64, 48))


def test_a_frame_over_the_limit_ends_the_camera_alone(server: Running) -> None:
    with (
        pytest.raises(ConnectionClosed),
        connect(f"ws://127.0.0.1:{server.port}/api/camera") as camera,
    ):
        exchange(camera, b"\0" * (9 << 20))


def exchange(camera: Any, message: bytes) -> bytes:
    camera.send(message)
    return camera.recv(20)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_slow_requests_are_ended(server: Running, tiny: bytes) -> None:
    """Headers that drip, a body that stops, and one that drips."""
    head = f"POST /api/pictures HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    body = head + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000\r\n\r\n"
    starts = {"headers": head, "stops": body, "drips": body}
    with ExitStack() as stack:
        sockets = {
            name: stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for name in starts
        }
        ended: dict[str, bytes] = {}
        for name, raw in sockets.items():
            raw.sendall(starts[name].encode())
            raw.settimeout(0.01)
        until = time.monotonic() + 60
        while len(ended) < len(sockets) and time.monotonic() < until:
            time.sleep(0.5)
            for name in sockets.keys() - ended.keys():
                try:
                    if name != "stops":
                        sockets[name].sendall(b"X" if name == "drips" else b"a: b\r\n")
                    ended[name] = sockets[name].recv(65536)
                except TimeoutError:
                    continue
                except ConnectionError:
                    ended[name] = b""
    assert set(ended) == set(sockets)
    assert b"408" in ended["headers"][:20]
    assert b"408" in ended["stops"][:20]
    assert np.all([answer == b"" or b'{"error"' in answer for answer in ended.values()])
