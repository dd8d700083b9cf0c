"""The report of a comparison as Markdown and as HTML."""

from __future__ import annotations

import html
from typing import NamedTuple

__all__ = ["STYLE_IMAGE", "Section", "markdown", "page"]

STYLE_IMAGE = "pictures/style_image.jpg"


class Section(NamedTuple):
    """One part of the report."""

    title: str
    table: list[list[str]]
    """the first row is the head"""
    notes: list[str]
    figures: list[tuple[str, str]]
    """file and caption"""


def markdown(title: str, summary: list[str], sections: list[Section], setup: dict[str, str]) -> str:
    """The report as Markdown."""
    parts = [f"# {title}", *summary, f"![style image]({STYLE_IMAGE})"]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.table:
            head, *rows = section.table
            lines = [head, ["---"] * len(head), *rows]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        parts += section.notes
        parts += [f"![{caption}]({file})" for file, caption in section.figures]
    facts = [f"* {name}: {value}" for name, value in setup.items()]
    return "\n\n".join([*parts, "## Setup", "\n".join(facts)]) + "\n"


_CSS = """
body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:.3rem} h2{margin-top:2.5rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:.9rem;margin:1rem 0}
td,th{border-bottom:1px solid #ddd;padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top}
th{font-weight:600} figure{margin:1.5rem 0} img{max-width:100%}
figcaption,.note{color:#555;font-size:.9rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem} dt{font-weight:600} dd{margin:0}
.intro{display:flex;gap:2rem;align-items:flex-start;flex-wrap:wrap}
.intro>div{flex:1 1 24rem} .intro figure{margin:0;flex:0 0 18rem}
"""


def page(title: str, summary: list[str], sections: list[Section], setup: dict[str, str]) -> str:
    """The report as HTML that needs nothing but the files beside it; the arguments are plain text."""
    title = html.escape(title)
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in summary)
    style_image = _figure(STYLE_IMAGE, "Style image")
    parts = [f'<h1>{title}</h1><div class="intro"><div>{lines}</div>{style_image}</div>']
    for section in sections:
        parts.append(f"<h2>{section.title}</h2>")
        if section.table:
            head, *rows = ("".join(f"<td>{html.escape(c)}</td>" for c in row) for row in section.table)
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            parts.append(f"<table><tr>{head.replace('td>', 'th>')}</tr>{body}</table>")
        parts += [f'<p class="note">{html.escape(note)}</p>' for note in section.notes]
        parts += [_figure(file, caption) for file, caption in section.figures]
    facts = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in setup.items()
    )
    parts.append(f"<h2>Setup</h2><dl>{facts}</dl>")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_CSS}</style><body>{''.join(parts)}</body></html>\n"
    )


def _figure(file: str, caption: str) -> str:
    words = html.escape(caption)
    return f'<figure><img src="{file}" alt="{words}"><figcaption>{words}</figcaption></figure>'
