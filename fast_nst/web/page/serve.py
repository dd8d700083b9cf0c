"""Serve this folder to try the page: ``python serve.py [PORT]``. Nothing but the standard library.

The headers are those of the file _headers beside this one: without them the engine has one thread.
"""

import os
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".gz": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".webmanifest": "application/manifest+json",
}


def read_headers() -> list[tuple[str, str]]:
    """Names and values in the file ``_headers``, which static hosts read too."""
    lines = (FOLDER / "_headers").read_text(encoding="utf-8").splitlines()
    found = (line.strip().partition(": ") for line in lines if line.startswith(" "))
    return [(name, value) for name, _, value in found]


class Handler(SimpleHTTPRequestHandler):
    """Files of the folder, with the page's headers."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        for name, value in read_headers():
            self.send_header(name, value)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        return TYPES.get(Path(path).suffix) or str(super().guess_type(path))

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve on this machine alone until it is interrupted."""
    words = sys.argv[1:] or ["8000"]
    if len(words) > 1 or not words[0].isascii() or not words[0].isdigit() or int(words[0]) > 65535:
        sys.exit(f"usage: python serve.py [PORT], a number up to 65535; got {' '.join(words)}")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(words[0])), partial(Handler, directory=str(FOLDER)))
    except OSError as error:
        sys.exit(f"port {words[0]} cannot be used ({error.strerror}); give another: python serve.py PORT")
    print(f"http://127.0.0.1:{server.server_address[1]}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
