"""``fast-nst export-page``: the page as a folder of static files."""

from __future__ import annotations

from collections.abc import Callable

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
    from fast_nst.web.engine_files import cached_engine
    from fast_nst.web.export_page import write_page

    engine = config.ort or cached_engine(progress=_shown())
    write_page(out, engine=engine)
    say(f"{page_bytes(out) / 1e6:.1f} MB; try it: python {out / 'serve.py'}")
    put(str(out))
    return DONE


def _shown() -> Callable[[int, int | None], None]:
    """A callback that shows a bar of the bytes received, once there are any."""
    bars: list[ProgressBar] = []

    def show(done: int, total: int | None) -> None:
        if not bars:
            say("downloading the engine of the page, once")
            bars.append(ProgressBar(total or done, "B", done=done))
        bars[0].show(done, f"downloaded {done / 1e6:.0f} MB")
        if done == total:
            bars[0].close()

    return show
