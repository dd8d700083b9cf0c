"""``fast-nst web``: the page and its server."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from fast_nst.cli.common import DONE, guarded, say
from fast_nst.errors import InputError

if TYPE_CHECKING:
    from fast_nst.web.server import Address

__all__ = ["main"]

DESCRIPTION = """Serve a page for pictures, videos and the webcam, with this machine's engine behind it.

  fast-nst web --open                  on this machine alone
  fast-nst web --host 0.0.0.0          for others too; they need the address with the token that is printed
"""
_MODULES = ("fastapi", "uvicorn", "websockets", "python_multipart")


@guarded
def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    from fast_nst.cli.parsing import parse
    from fast_nst.config.web import WebConfig

    config = parse(WebConfig, arguments, prog="fast-nst web", description=DESCRIPTION)
    if missing := [name for name in _MODULES if importlib.util.find_spec(name) is None]:
        from fast_nst.system.extras import how_to_install

        raise InputError(f"fast-nst web needs {', '.join(missing)}: {how_to_install('web')}")
    from fast_nst.web.server import serve

    def ready(address: Address) -> None:
        say(f"{address.url} ({address.engine}); Ctrl-C ends it")
        if config.open:
            import webbrowser

            webbrowser.open(address.url)

    serve(config, ready, say)
    return DONE
