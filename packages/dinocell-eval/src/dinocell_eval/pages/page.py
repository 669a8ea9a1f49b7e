"""The page around the drawings: style, tables, figures and the head with its key numbers."""

from collections.abc import Sequence
from html import escape

Interval = tuple[float, float] | None


def number(value: float | int | None, *, digits: int = 3, sign: bool = False) -> str:
    """A value with a true minus sign; a dash where undefined."""
    if value is None:
        return '<span class="none" title="undefined">\N{EN DASH}</span>'
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def span(interval: Interval, *, digits: int = 3, sign: bool = False) -> str:
    """An interval as text; empty without one."""
    if interval is None:
        return ""
    return f"{number(interval[0], digits=digits, sign=sign)} to {number(interval[1], digits=digits, sign=sign)}"


def card(name: str, value: str, below: str, *, title: str = "") -> str:
    """A key number; `value` and `below` are markup."""
    return (
        f'<div class="card" title="{escape(title)}"><div class="name">{escape(name)}</div>'
        f'<div class="value">{value}</div><div class="below">{below}</div></div>'
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1, caption: str = "") -> str:
    """A table; cells are markup, the first `words` columns text and the others numbers."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{'' if column < words else ' class=num'}>{cell}</{tag}>" for column, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    spoken = f"<caption>{caption}</caption>" if caption else ""
    top = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="scroll"><table>{spoken}{top}<tbody>{body}</tbody></table></div>'


def figure(drawing: str, caption: str, *, wide: bool = False) -> str:
    """A drawing with its caption, which is markup."""
    kind = "figure wide" if wide else "figure"
    return f'<figure class="{kind}"><div class="scroll">{drawing}</div><figcaption>{caption}</figcaption></figure>'


def section(title: str, *content: str, lead: str = "") -> str:
    below = f'<p class="lead">{lead}</p>' if lead else ""
    return f"<section><h2>{escape(title)}</h2>{below}{''.join(content)}</section>"


def notes(lines: Sequence[str], *, title: str) -> str:
    """A box of remarks that must not be overlooked; nothing without remarks."""
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="notes"><strong>{escape(title)}</strong><ul>{items}</ul></aside>'


def details(summary: str, *content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{''.join(content)}</details>"


def legend(entries: Sequence[tuple[str, str, str]]) -> str:
    """Coloured keys: colour, name, and the text after it."""
    items = "".join(
        f'<li><span class="key" style="background:{colour}"></span><b>{escape(name)}</b> {escape(rest)}</li>'
        for colour, name, rest in entries
    )
    return f'<ul class="legend">{items}</ul>'


def page(title: str, subtitle: str, *content: str) -> str:
    """The complete file; `subtitle` is markup."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><main><header><p class=brand>DINOCell evaluation</p>"
        f"<h1>{escape(title)}</h1><p class=subtitle>{subtitle}</p></header>{''.join(content)}</main></body></html>\n"
    )


STYLE = """
:root{--ink:#18202b;--soft:#586474;--line:#d9dee5;--faint:#f4f6f8;--accent:#0072b2;--ground:#fff}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{margin:0;background:#eceff3;color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue","Noto Sans",Arial,sans-serif;font-variant-numeric:tabular-nums lining-nums}
main{max-width:68rem;margin:2rem auto;background:var(--ground);padding:2.6rem 3rem 3.4rem;border-radius:6px;
box-shadow:0 1px 3px #18202b22}
header{border-bottom:2px solid var(--ink);padding-bottom:1.1rem;margin-bottom:1.5rem}
.brand{margin:0;color:var(--accent);font-weight:650;font-size:.82rem;letter-spacing:.09em;text-transform:uppercase}
h1{font-size:1.95rem;line-height:1.2;margin:.25rem 0 .35rem;letter-spacing:-.015em;overflow-wrap:anywhere}
h2{font-size:1.22rem;margin:0 0 .5rem;letter-spacing:-.005em}
h3{font-size:1rem;margin:0 0 .3rem;overflow-wrap:anywhere}
.subtitle,.lead{color:var(--soft);margin:0;max-width:50rem;overflow-wrap:anywhere}.lead{margin-bottom:1rem}
section{margin-top:2.5rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.6rem,1fr));gap:.7rem;margin:1rem 0}
.card{border:1px solid var(--line);border-top:3px solid var(--accent);border-radius:4px;padding:.65rem .85rem .7rem;
display:flex;flex-direction:column;break-inside:avoid}
.card .name{font-size:.85rem;font-weight:600;line-height:1.3;min-height:1.1rem}
.card .value{font-size:1.75rem;font-weight:650;letter-spacing:-.02em;line-height:1.35;margin-top:auto}
.card .below{font-size:.79rem;color:var(--soft);min-height:1.2em}
.notes{border-left:4px solid #e69f00;background:#fff8e8;padding:.7rem 1rem;margin:1rem 0;border-radius:0 4px 4px 0;
font-size:.92rem}
.notes ul{margin:.25rem 0 0;padding-left:1.2rem}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.6rem 2rem;
align-items:start}
figure{margin:0;break-inside:avoid}figure.wide{margin-bottom:1rem}
figcaption{font-size:.87rem;color:var(--soft);margin-top:.4rem;max-width:44rem}
.scroll{overflow-x:auto;max-width:100%}
.scroll svg{display:block;width:100%;min-width:25rem;height:auto;font-family:inherit;font-size:13px;fill:var(--ink)}
.wide .scroll svg{min-width:32rem}
svg .axis{fill:var(--soft)}svg .row{font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}svg .tick{stroke:var(--soft)}
svg .zero{stroke:var(--ink);stroke-width:1.2}svg .equal{stroke:var(--soft);stroke-dasharray:4 4}
svg .dot{fill:var(--accent);fill-opacity:.5}svg .cell{fill:var(--accent)}
svg .median{stroke:var(--ink);stroke-width:2}svg .pooled{fill:#d55e00;stroke:#fff;stroke-width:1}
svg .on-bar{fill:#10161f;font-weight:650}
table{border-collapse:collapse;width:100%;font-size:.88rem}
caption{text-align:left;color:var(--soft);padding-bottom:.4rem;font-size:.87rem}
th,td{padding:.34rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:baseline}
th{font-weight:650;border-bottom:1.5px solid var(--ink);white-space:nowrap}
.num{text-align:right;white-space:nowrap}tbody tr:hover{background:var(--faint)}
.none{color:#8a93a0}code{font-size:.86em;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;padding:0;margin:.7rem 0;font-size:.88rem}
.key{display:inline-block;width:.85em;height:.85em;border-radius:2px;margin-right:.4em;vertical-align:-.06em}
.gallery{display:grid;gap:1.7rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.6rem;margin-top:.4rem}
.pair>div>p{margin:0 0 .2rem;font-size:.8rem;color:var(--soft)}
.shown{background-size:100% 100%;image-rendering:pixelated;border-radius:3px;overflow:hidden}
.shown img{display:block;width:100%;height:auto;image-rendering:pixelated}
.item{break-inside:avoid}.item p.facts{margin:0;font-size:.87rem;color:var(--soft)}
.class{white-space:nowrap}.class+small{display:block;margin-left:1.1em}small{color:var(--soft)}
.swatch{display:inline-block;width:.7em;height:.7em;border-radius:50%;margin-right:.4em}
details{margin-top:.8rem}summary{cursor:pointer;font-weight:600;color:var(--accent)}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:0;font-size:.9rem}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
@media(max-width:46rem){body{background:#fff}main{margin:0;padding:1.2rem 1rem 2rem;box-shadow:none;border-radius:0}
h1{font-size:1.45rem}.cards{grid-template-columns:repeat(2,1fr);gap:.5rem}.card .value{font-size:1.35rem}
.scroll svg{min-width:19rem}.wide .scroll svg{min-width:27rem}
dl.facts{grid-template-columns:1fr;gap:0}dl.facts dd{margin-bottom:.5rem}}
@media print{@page{size:A4;margin:14mm}body{background:#fff;font-size:10.5pt}main{max-width:none;margin:0;padding:0;
box-shadow:none}section{margin-top:1.6rem}h2{break-after:avoid}details::details-content{content-visibility:visible;block-size:auto}.scroll{overflow:visible}
table{font-size:8.5pt}
th,td{padding:.2rem .4rem}.grid2{grid-template-columns:1fr 1fr}tr{break-inside:avoid}.scroll svg{min-width:0}}
""".replace("\n", "")
