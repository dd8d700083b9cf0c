"""``fast-nst export-page``: the page as a folder of static files."""

from __future__ import annotations

from pathlib import Path

from fast_nst.cli.common import DONE, USAGE, guarded, put, say
from fast_nst.cli.progress import ProgressBar
from fast_nst.config import ExportPageConfig
from fast_nst.errors import InputError

__all__ = ["main"]

PROG = "fast-nst export-page"
DESCRIPTION = """Write a page that stylizes pictures and the webcam in the browser, for any static host.

  fast-nst export-page site/                       the engine of the page is downloaded once
  fast-nst export-page site/ --ort package/dist    from a folder, without a network
  python site/serve.py                             try it
"""


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if not arguments:
        say(f"{DESCRIPTION}\n{PROG} --help lists every option.")
        return USAGE
    from fast_nst.cli.parsing import parse_with_sources

    folders, config = parse_with_sources(
        ExportPageConfig, arguments, prog=PROG, description=DESCRIPTION, help="the folder to write"
    )
    if len(folders) != 1:
        raise InputError(f"one folder is written, got {len(folders)}; {PROG} OUT/")
    from fast_nst.web.export_page import new_page, page_bytes

    out = new_page(folders[0], overwrite=config.overwrite)
    say(f"writing {out}")
    from fast_nst.web.export_page import write_page

    write_page(out, engine=config.ort or _downloaded_engine())
    say(f"{page_bytes(out) / 1e6:.1f} MB; try it: python {out / 'serve.py'}")
    put(str(out))
    return DONE


def _downloaded_engine() -> Path:
    """The engine in the user's cache; a bar of the bytes received, if there are any."""
    from fast_nst.web.engine_files import BYTES, cached_engine

    bars: list[ProgressBar] = []

    def show(done: int, _: int | None) -> None:
        if not bars:
            say("downloading the engine of the page, once")
            bars.append(ProgressBar(BYTES, "B"))
        bars[0].show(done, f"downloaded {done / 1e6:.0f} MB")

    try:
        return cached_engine(progress=show)
    finally:
        for bar in bars:
            bar.close()
