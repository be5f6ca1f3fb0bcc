"""The frame of a page by itself, and what its sections are made of: tables, bars, numbers. All texts are escaped here."""

import datetime
import html
import math
from collections.abc import Iterable, Sequence

from report_charts import STYLE

_STYLE = (
    """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --accent: #0969da; --bad: #c0392b; }
@media (prefers-color-scheme: dark) { :root { --accent: #58a6ff; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; } p { margin: .3rem 0; max-width: 60rem; } .soft { opacity: .75; }
.bad { color: var(--bad); } nav { margin: .8rem 0; } nav a { margin-right: 1rem; color: var(--accent); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: .8rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: .5rem; }
.chart { width: 100%; height: auto; display: block; }
.spark { width: 100px; height: 20px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .5rem .7rem; } .card b { display: block; font-size: 1.25rem; }
.card span { opacity: .75; font-size: .85rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top; }
th { white-space: normal; vertical-align: bottom; }
th.text, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
td.text.long { min-width: 14rem; }
.bar { display: block; height: .7rem; min-width: 1px; border-radius: 2px; background: var(--accent); }
td.bars { width: 12rem; min-width: 8rem; }
.switch { margin: .2rem 0 .6rem; } .switch label { margin-right: 1rem; }
.by-time { display: none; } body:has(#over-time:checked) .by-time { display: block; }
body:has(#over-time:checked) .by-rows { display: none; }
details { margin: .8rem 0; } summary { cursor: pointer; }
"""
    + STYLE
)
_NO_REQUESTS = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_LONG = 40

Cell = str | int | float | None


class Markup(str):
    """What is HTML already."""


def whole_page(title: str, parts: Iterable[str]) -> str:
    """A page that asks for nothing outside of itself: its own policy forbids it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_REQUESTS}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def escape(text: object) -> str:
    """A text as HTML, between tags and within an attribute's quotes."""
    return html.escape(str(text), quote=True)


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page; "" where all its parts are.

    Args:
      name: in links to it.
      title: above it.
      parts: HTML.
    """
    there = [part for part in parts if part]
    return f'<section id="{name}">\n<h2>{escape(title)}</h2>\n' + "\n".join(there) + "\n</section>" if there else ""


def text(words: str, look: str = "") -> str:
    """A paragraph."""
    return f'<p class="{look}">{escape(words)}</p>' if words else ""


def grid(charts: Iterable[str]) -> str:
    """Charts side by side, where there is room; "" where there is none. Each is a figure already, or becomes one."""
    figures = [chart if chart.startswith("<figure") else f"<figure>{chart}</figure>" for chart in charts if chart]
    return f'<div class="grid">{"".join(figures)}</div>' if figures else ""


def cards(of: Sequence[tuple[str, str, str]]) -> str:
    """Numbers that are seen first: what it is, the number, and what it is held against."""
    made = (f'<div class="card"><span>{escape(n)}</span><b>{escape(v)}</b><span>{escape(a)}</span></div>' for n, v, a in of)
    return f'<div class="cards">{"".join(made)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], texts: Sequence[int] = (0,)) -> str:
    """A table; "" without a row.

    Args:
      head: of the columns.
      rows: of cells: Markup as it is, all else escaped, None as "-".
      texts: the places of columns that are no numbers.
    """
    made = ["".join(_cell(cell, place in texts) for place, cell in enumerate(row)) for row in rows]
    if not made:
        return ""
    above = "".join(f'<th class="{"text" if place in texts else ""}">{escape(name)}</th>' for place, name in enumerate(head))
    body = "".join(f"<tr>{row}</tr>" for row in made)
    return f'<div class="wide"><table><thead><tr>{above}</tr></thead><tbody>{body}</tbody></table></div>'


def bars(head: Sequence[str], of: Sequence[tuple[str, float]]) -> str:
    """A table of names, numbers and bars, with the share of each; "" without any."""
    total, most = sum(n for _, n in of) or 1, max((n for _, n in of), default=0) or 1
    rows = [
        (name, count(n), share(n / total), Markup(f'<span class="bar" style="width:{100 * n / most:.1f}%"></span>'))
        for name, n in of
    ]
    return table([*head, "share", ""], rows, texts=(0, 3))


def hidden(title: str, *parts: str) -> str:
    """What is seen once somebody asks for it; "" where there is nothing."""
    there = "".join(part for part in parts if part)
    return f"<details><summary>{escape(title)}</summary>{there}</details>" if there else ""


def number(value: float | None, digits: int = 4) -> str:
    """With so many decimals; "-" where it is not defined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """Likewise, with its sign."""
    return "-" if value is None or not math.isfinite(value) else f"{value:+,.{digits}f}"


def count(value: float | None) -> str:
    """A whole number."""
    return number(value, 0)


def share(value: float | None) -> str:
    """A share in percent, with three figures."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.3g} %"


def when(secs: float | None) -> str:
    """A time, seconds since 1970, in UTC; "-" where it is not known."""
    return f"{datetime.datetime.fromtimestamp(secs, datetime.UTC):%Y-%m-%d %H:%M:%S}" if secs else "-"


def _cell(cell: Cell, is_text: bool) -> str:
    shown = "-" if cell is None else cell if isinstance(cell, Markup) else escape(cell)
    long = " long" if is_text and not isinstance(cell, Markup) and len(str(cell)) > _LONG else ""
    return (
        f'<td class="text{long}{" bars" if isinstance(cell, Markup) and "bar" in cell else ""}">{shown}</td>'
        if is_text
        else f"<td>{shown}</td>"
    )
