"""Griffe extension: show the math blocks of docstrings as code, so that pages load no scripts of others."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":math:`([^`]+)`")
_MATH = re.compile(r"^( *)\.\. math::[ ]*(.*(?:\n\1[ ]{2,}\S.*|\n(?=\n\1[ ]{2,}\S))*)", flags=re.M)


class MathAsCode(griffe.Extension):
    """Rewrite each docstring when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None and "math:" in obj.docstring.value:
            obj.docstring.value = _ROLE.sub(r"`\1`", _MATH.sub(_as_code, obj.docstring.value))


def _as_code(match: re.Match[str]) -> str:
    indent, formula = match.groups()
    lines = [line.strip() for line in formula.splitlines() if line.strip()]
    return "\n".join(f"{indent}{line}" for line in ["```latex", *lines, "```"])
