"""The page's folder, written once: converting the networks and compressing the engine takes a while."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fast_nst import __version__
from fast_nst.errors import InputError
from fast_nst.models.model_files import bundled_galleries, bundled_networks, file_digest
from fast_nst.system.folders import UnusableFolderError, private_folder
from fast_nst.web.engine_files import FILES
from fast_nst.web.export_page import page_files, write_page

__all__ = ["cached_page", "page_key"]

_KEPT = 3  # versions, the ones written last: another server may still use an older one


def cached_page(
    write: Callable[[Path], None] = write_page, *, tell: Callable[[], None], key: str | None = None
) -> Path:
    """The folder of the page in the user's cache, written again when what it is made of has changed.

    Args:
        write: writes the page into a folder.
        tell: called before it is written.
        key: what the page is made of, as a name [default: `page_key`].

    Raises:
        InputError: it cannot be written: see `write_page`; or the cache folder cannot be used.
    """
    try:
        root = private_folder("pages")
    except (UnusableFolderError, OSError) as error:
        raise InputError(str(error)) from None
    folder = root / (key or page_key())
    if folder.is_dir():
        return folder
    tell()
    partial = Path(tempfile.mkdtemp(dir=root, prefix="."))
    try:
        write(partial)
        with suppress(OSError):  # another process was first
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _remove_old(root)
    return folder


def page_key() -> str:
    """What the page is made of: version, its own files, the code that writes it, styles, engine."""
    here = Path(__file__).parent
    code = [*here.glob("*.py"), *(here.parent / "inference" / "engine").glob("*.py")]
    styles = [*bundled_networks().values(), *bundled_galleries().values()]
    labels = [path for folder in {style.parent for style in styles} for path in folder.glob("*.toml")]
    digest = hashlib.sha256(f"{__version__} {sorted(FILES.items())}".encode())
    for path in sorted([*page_files(), *code, *styles, *labels]):
        digest.update(f" {path.name} {file_digest(path)}".encode())
    return digest.hexdigest()[:32]


def _remove_old(root: Path) -> None:
    written = [path for path in root.iterdir() if path.is_dir()]
    written.sort(key=lambda path: path.stat().st_mtime)
    for folder in written[:-_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
