"""Downloads that survive a broken connection and are never half there.

A file arrives as ``NAME.part``, with a note beside it that identifies the version of the file. Ours, since
neither urllib nor a dependency resumes a download and checks that the file on the server is still the same.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from fast_nst.errors import InputError

__all__ = ["DownloadError", "ProgressCallback", "download"]

ProgressCallback = Callable[[int, int | None], None]
"""Called with the bytes done so far and with all there are, where that is known."""


class DownloadError(InputError):
    """A file that cannot be fetched; nothing stands under its final name."""


CHUNK = 2**20
_RESERVE = 64 * 2**20  # bytes left free on the disk, so that the rest of the system keeps running
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class _Identity:
    """What tells one version of a file on a server from the next; kept beside the ``.part`` it belongs to."""

    url: str
    total: int | None
    etag: str | None
    modified: str | None


@dataclass(frozen=True)
class _Wanted:
    """What a file is checked against; without a hash it must be a zip."""

    size: int | None
    sha256: str | None


class _RestartDownload(Exception):
    """The partial file does not match what the server sends."""


def download(
    url: str,
    target: Path,
    *,
    expected_size: int | None = None,
    sha256: str | None = None,
    progress: ProgressCallback | None = None,
    on_check: ProgressCallback | None = None,
    timeout: float = 15,
    retries: int = 5,
    pause: float = 1,
) -> None:
    """Fetch a file to `target`, which is whole or absent; a file that is there already is left alone.

    What arrives goes to ``target.part``; after a broken connection the download is resumed, at once or by the
    next call, if the server still has the same file (size, ETag, Last-Modified) and supports ranges. Before
    it gets its name, its size is compared, and its hash or, of a zip, the CRC of every member.

    Args:
        sha256: of the file, in hex; None: the file is a zip, which holds checksums of its own.
        progress: called as bytes are received.
        on_check: called as bytes are checked.
        timeout: seconds without an answer.
        retries: in a row without any progress.
        pause: seconds before the first retry, doubled each time.
    """
    if target.exists():
        if expected_size not in (None, target.stat().st_size):
            raise DownloadError(
                f"{target} is there with {target.stat().st_size:,} bytes instead of {expected_size:,}; "
                "remove it to download it again"
            )
        return
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, _Wanted(expected_size, sha256), progress, timeout, retries, pause)
        if sha256 is None:
            _check_zip(part, url, on_check)
        else:
            _check_hash(part, url, sha256)
        _publish(part, target)
    except OSError as error:
        reason = "the disk is full" if error.errno in _NO_SPACE else error.strerror or str(error)
        raise DownloadError(f"{url} cannot be saved as {target}: {reason}; what arrived is kept") from error


def _receive(
    url: str,
    part: Path,
    wanted: _Wanted,
    progress: ProgressCallback | None,
    timeout: float,
    retries: int,
    pause: float,
) -> None:
    """Fill `part`, however many connections it takes."""
    failures, before = 0, -1
    while True:
        try:
            return _transfer(url, part, wanted, progress, timeout)
        except _RestartDownload:
            _discard(part)
            continue
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500:
                raise DownloadError(f"{url}: the server says {error.code} ({error.reason})") from error
            problem: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            problem = error
        have = _size(part)
        failures = 1 if have > before else failures + 1
        before = have
        # Without a single byte it is no broken connection, it is no network: waiting would only hide that.
        if failures > retries or have == 0:
            kept = f"; {have:,} bytes are kept, run it again to resume" if have else ""
            reason = getattr(problem, "reason", problem)
            target = part.with_suffix("")
            raise DownloadError(f"{url} cannot be downloaded to {target}: {reason}{kept}") from problem
        time.sleep(pause * 2 ** (failures - 1))


def _transfer(
    url: str, part: Path, wanted: _Wanted, progress: ProgressCallback | None, timeout: float
) -> None:
    """One connection's worth of `part`, to its end or to an exception."""
    known = _read_note(part)
    have = _size(part) if known is not None and known.url == url else 0
    if have and known is not None and have == known.total:
        return
    with _open(url, have, known, timeout) as response:
        if have and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0  # no ranges, or another file by now: this answer is the whole of it
        identity = _identity(url, response, have)
        if have and identity != known:
            raise _RestartDownload
        _refuse_unwanted(response, identity, part, have, wanted)
        if not have:
            _discard(part)
            _write_note(part, identity)
        with open(part, "ab") as file:
            for chunk in _chunks(response):
                if not have and wanted.sha256 is None and not chunk.startswith(b"PK"):
                    file.close()
                    _discard(part)
                    raise DownloadError(f"{url} is not a zip (it starts with {chunk[:16]!r})")
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, identity.total)
    if identity.total is not None and have < identity.total:
        raise ConnectionError(f"the connection broke after {have:,} of {identity.total:,} bytes")
    if wanted.size is not None and have != wanted.size:
        _discard(part)
        raise DownloadError(f"{url} has {have:,} bytes, expected were {wanted.size:,}")


def _open(url: str, have: int, known: _Identity | None, timeout: float) -> http.client.HTTPResponse:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not a download address; it must start with http:// or https://")
    headers = {"Accept-Encoding": "identity"}
    if have and known is not None:
        headers["Range"] = f"bytes={have}-"
        # A weak ETag may not be used with ranges, RFC 9110, section 13.1.5.
        strong = known.etag if known.etag and not known.etag.startswith("W/") else known.modified
        headers |= {"If-Range": strong} if strong else {}
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            error.close()
            raise _RestartDownload from error
        raise
    return response


def _identity(url: str, response: http.client.HTTPResponse, have: int) -> _Identity:
    """The identity of the file behind a response that resumes at byte `have`."""
    total: int | None
    if have:
        match = re.fullmatch(rf"bytes {have}-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if match is None:
            raise _RestartDownload
        total = int(match[1])
    else:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    return _Identity(url, total, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _refuse_unwanted(
    response: http.client.HTTPResponse, identity: _Identity, part: Path, have: int, wanted: _Wanted
) -> None:
    """Before anything is written: an error page, another file, a disk that is too small."""
    url, total, size = identity.url, identity.total, wanted.size
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        what = "the file" if wanted.sha256 else "a zip"
        raise DownloadError(f"{url} gives a web page instead of {what} (is there a proxy, or a login?)")
    if size is not None and total is not None and total != size:
        raise DownloadError(f"{url} has {total:,} bytes, expected were {size:,}")
    needed = (total or size or 0) - have + _RESERVE
    # A part that is about to be discarded makes room for the new one.
    free = shutil.disk_usage(part.parent).free + (0 if have else _size(part))
    if needed > free:
        raise DownloadError(
            f"{url} needs {needed / 1e9:.2f} GB in {part.parent}, {free / 1e9:.2f} GB are free; "
            "make room, or set FAST_NST_DATA to a folder on a larger disk"
        )


def _chunks(stream: BinaryIO | http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK):
        yield chunk


def _check_zip(part: Path, url: str, on_check: ProgressCallback | None) -> None:
    """Read every member, which compares its CRC. A part that fails is removed: resuming cannot repair it."""
    try:
        with zipfile.ZipFile(part) as archive:
            total, done = sum(info.file_size for info in archive.infolist()), 0
            for info in archive.infolist():
                with archive.open(info) as member:
                    while chunk := member.read(CHUNK):
                        done += len(chunk)
                if on_check is not None:
                    on_check(done, total)
    except OSError:
        raise
    except Exception as error:  # BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, …
        _discard(part)
        raise DownloadError(f"{url} arrived damaged ({error}) and was removed; run it again") from error


def _check_hash(part: Path, url: str, sha256: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        _discard(part)
        raise DownloadError(
            f"{url} is not the expected file: its SHA-256 is {found}, expected was {sha256}; it was removed"
        )


def _publish(part: Path, target: Path) -> None:
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    _note(part).unlink(missing_ok=True)


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _write_note(part: Path, identity: _Identity) -> None:
    _note(part).write_text(json.dumps(asdict(identity)), encoding="utf-8")


def _read_note(part: Path) -> _Identity | None:
    try:
        return _Identity(**json.loads(_note(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # a part of unknown origin is not resumed


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
