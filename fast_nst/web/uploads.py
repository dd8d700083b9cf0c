"""Read an upload as it comes: no part is larger than allowed, none comes too slowly, none chooses its name.

A form's files are written to a job's private folder under names of ours. What the client calls them is kept
for the name of the download alone.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from fast_nst.errors import shown
from fast_nst.serialization import show_bytes
from fast_nst.web.refusals import Refusal
from fast_nst.web.storage import Storage

__all__ = ["Form", "read_form"]

_MOST_TEXT = 4096  # bytes of a field that is no file
_MOST_PARTS = 8
_MOST_HEAD = 4096  # bytes of the headers of a part, and of what else is not in the parts
_IDLE = 20.0  # seconds without a byte
_GRACE = 10.0  # seconds after which an upload must be this fast, on average
_SLOWEST = 16384  # bytes a second


@dataclass
class Form:
    """What was uploaded."""

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """what the client calls its files"""


async def read_form(
    request: Request, folder: Path, storage: Storage, files: Mapping[str, int], texts: tuple[str, ...]
) -> Form:
    """The fields of a multipart form.

    Args:
        folder: where the files are written, by the names of their fields.
        files: the fields that are files, with the most bytes each may have.
        texts: the other fields.

    Raises:
        Refusal: not such a form, unknown fields, too large, too slow, or cut off.
    """
    whole = sum(files.values()) + len(texts) * _MOST_TEXT + _MOST_PARTS * _MOST_HEAD
    _check_length(request.headers.get("content-length"), whole, files)
    reader = _FormReader(_boundary(request.headers.get("content-type", "")), folder, files, texts)
    total = 0
    try:
        async for chunk in _chunks(request):
            total += len(chunk)
            if total > whole:
                raise _too_large(files)
            storage.check_room(len(chunk))
            reader.feed(chunk)
        return reader.finish()
    finally:
        reader.close()


def _check_length(given: str | None, most: int, files: Mapping[str, int]) -> None:
    if given is None:
        return  # sent in chunks; counted as they come
    if not (given.isascii() and given.isdecimal()):
        raise Refusal(400, f"Content-Length is no number: {shown(given)}")
    if len(given) > 15 or int(given) > most:
        raise _too_large(files)


def _too_large(files: Mapping[str, int]) -> Refusal:
    limits = ", ".join(f"{name} {show_bytes(limit)}" for name, limit in files.items())
    return Refusal(413, f"the upload is too large; limits are {limits}; send a smaller file")


def _boundary(content_type: str) -> bytes:
    found = re.fullmatch(
        r'\s*multipart/form-data\s*;.*?boundary=("?)([0-9A-Za-z\'()+_,./:=? -]{1,70})\1\s*(;.*)?',
        content_type,
    )
    if found is None:
        got = shown(content_type) if content_type else "none"
        raise Refusal(415, f"send a form of type multipart/form-data, got {got}")
    return found[2].encode()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        Refusal: nothing came for a while, it comes too slowly, or the client is gone.
    """
    started, total = time.monotonic(), 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise Refusal(408, f"nothing was sent for {_IDLE:g} seconds; send it again") from None
        except ClientDisconnect:
            raise Refusal(400, "the upload was cut off; send it again") from None
        if chunk is None:
            return
        total += len(chunk)
        spent = time.monotonic() - started
        if spent > _GRACE and total < _SLOWEST * spent:
            raise Refusal(408, f"the upload is slower than {_SLOWEST >> 10} KB a second; send a smaller file")
        yield chunk


class _FormReader:
    """Feeds the parser of multipart forms and takes what it finds."""

    def __init__(
        self, boundary: bytes, folder: Path, files: Mapping[str, int], texts: tuple[str, ...]
    ) -> None:
        self._folder, self._limits, self._texts = folder, files, texts
        self._form, self._parts, self._complete = Form(), 0, False
        self._file: BinaryIO | None = None
        self._name, self._header, self._value = "", b"", b""
        self._text, self._size = bytearray(), 0
        callbacks: Any = {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, data: bytes) -> None:
        """Parse a piece of the body."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise Refusal(400, "the form is damaged; send it again") from None

    def finish(self) -> Form:
        """What the form holds, after the last piece."""
        if not self._complete:
            raise Refusal(400, "the upload was cut off; send it again")
        return self._form

    def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise Refusal(400, f"the form has more than {_MOST_PARTS} fields")
        self._name, self._header, self._value = "", b"", b""
        self._text, self._size = bytearray(), 0

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            if file_name := options.get(b"filename"):
                self._form.names[self._name] = file_name.decode("utf-8", "replace")
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        name = self._name
        if name not in self._limits and name not in self._texts:
            known = ", ".join((*self._limits, *self._texts))
            raise Refusal(422, f"unknown field {shown(name)!r}; known are {known}")
        if name in self._form.texts or name in self._form.files:
            raise Refusal(422, f"the field {name} is given twice")
        if name in self._limits:
            self._form.files[name] = self._folder / name
            self._file = open(self._folder / name, "xb")  # noqa: SIM115 -- closed by `close`

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._limits.get(self._name, _MOST_TEXT):
            limit = self._limits.get(self._name)
            size = show_bytes(limit) if limit else f"{_MOST_TEXT} bytes"
            raise Refusal(413, f"{self._name} is larger than {size}; send a smaller one")
        if self._file is not None:
            self._file.write(data[start:end])
        else:
            self._text += data[start:end]

    def _part_end(self) -> None:
        if self._file is not None:
            self.close()
            return
        try:
            self._form.texts[self._name] = self._text.decode()
        except UnicodeDecodeError:
            raise Refusal(422, f"the field {self._name} is not UTF-8 text") from None

    def _end(self) -> None:
        self._complete = True
