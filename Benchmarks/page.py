"""A result as one page of HTML: no script, nothing loaded, light and dark, narrow screens too."""
import html as markup
import math
import re


METHOD = [
    "The proxy is alone on CPU 1 with one worker; the load tool and the application share CPU 0. Candidates take "
    "turns, round by round, in an order that moves. A bar is the median of the rounds; its whisker goes from the best "
    "round to the worst one. A difference smaller than the whiskers is none.",
    "CPU time a request is the primary figure: user and system time of the proxy's own worker, divided by good "
    "answers. It hardly depends on how fast the load side is. Requests a second and latencies do, and are to be "
    "compared only where “busy” is near 1. Ratios are taken within a round, so that a slow minute hits both sides.",
    "A round with a single error counts in no figure and is listed below its table.",
]

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1b2430; --soft: #5d6a7a; --line: #e2e6eb; --bar: #a9b5c3; --ours: #0f7c86;
  --floor: #d3dae2; --whisker: #1b2430; --best: #0f7c86; --tip: #1b2430; --tip-ink: #ffffff; --good: 15, 124, 134; }
@media (prefers-color-scheme: dark) { :root {
  --page: #10151b; --card: #182029; --ink: #e6ebf1; --soft: #93a1b1; --line: #2a3541; --bar: #56657a; --ours: #35b5bf;
  --floor: #35414f; --whisker: #e6ebf1; --best: #59d0d9; --tip: #e6ebf1; --tip-ink: #10151b; --good: 53, 181, 191; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header, footer { max-width: 70rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; line-height: 1.35; margin: 0 0 .25rem; }
h2 b { color: var(--ours); margin-right: .35em; }
h3 { font-size: .85rem; font-weight: 600; color: var(--soft); margin: 1.25rem 0 .5rem; }
p { margin: .4rem 0; } .soft, .text { color: var(--soft); } .text { font-size: .9rem; }
.facts { display: flex; flex-wrap: wrap; gap: .35rem 1.25rem; margin: .75rem 0 0; padding: 0; list-style: none;
  font-size: .9rem; color: var(--soft); } .facts b { color: var(--ink); font-weight: 600; }
nav { display: flex; flex-wrap: wrap; gap: .4rem; margin: 1.25rem 0; }
nav a { font-size: .85rem; padding: .15rem .65rem; border: 1px solid var(--line); border-radius: 1rem;
  background: var(--card); color: var(--ink); text-decoration: none; } nav a:hover { border-color: var(--ours); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.1rem 1.25rem;
  margin: 0 0 1.25rem; scroll-margin-top: 1rem; }
.chart { position: relative; }
.bar { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr) 5.5rem; gap: .6rem; align-items: center;
  position: relative; padding: .1rem 0; border-radius: .3rem; outline: none; cursor: default; }
.bar:hover, .bar:focus { background: rgba(var(--good), .09); }
.bar .name { font-size: .85rem; text-align: right; overflow-wrap: anywhere; line-height: 1.2; }
.bar .value { font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar.ours .name, .bar.ours .value { font-weight: 650; color: var(--ours); }
.bar svg { display: block; width: 100%; height: 1.5rem; overflow: visible; }
.bar .fill { fill: var(--bar); } .bar.ours .fill { fill: var(--ours); } .bar.floor .fill { fill: var(--floor); }
.bar .whisker { stroke: var(--whisker); stroke-width: 1.5; opacity: .75; }
.grid { stroke: var(--line); stroke-width: 1; } .tick { fill: var(--soft); font-size: .7rem; }
.tip { display: none; position: absolute; left: 9.1rem; top: 100%; z-index: 2; padding: .4rem .65rem;
  border-radius: .4rem; background: var(--tip); color: var(--tip-ink); font-size: .8rem; line-height: 1.4;
  max-width: calc(100% - 9.1rem);
  pointer-events: none; } .bar:hover .tip, .bar:focus .tip { display: block; }
.wide { overflow-x: auto; margin: 1rem -1.25rem 0; padding: 0 1.25rem; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .28rem .5rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
a { color: inherit; } th.ours { color: var(--ours); }
th { font-weight: 600; color: var(--soft); vertical-align: bottom; white-space: normal; min-width: 3.6rem; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0;
  background: var(--card); }
tbody tr:last-child td { border-bottom: 0; } tr.ours td:first-child { color: var(--ours); font-weight: 650; }
td.long { white-space: normal; min-width: 13rem; } td.best { font-weight: 700; color: var(--best); }
.lost { color: var(--soft); font-size: .85rem; } code { font-size: .92em; }
footer { padding-bottom: 3rem; color: var(--soft); font-size: .9rem; }
@media (max-width: 36rem) {
  main, header, footer { padding-left: .75rem; padding-right: .75rem; } header { padding-top: 1.5rem; }
  section { padding: .9rem .9rem; } td.long { min-width: 8.5rem; } .wide { margin: .9rem -.9rem 0; padding: 0 .9rem; }
  .bar { grid-template-columns: minmax(0, 1fr) auto; gap: 0 .6rem; padding: .2rem 0; }
  .bar .name { text-align: left; grid-row: 1; grid-column: 1; } .bar .value { grid-row: 1; grid-column: 2; }
  .bar svg { grid-row: 2; grid-column: 1 / 3; height: 1.1rem; } .bar.axis .name, .bar.axis .value { display: none; }
  .tip { left: 0; max-width: 100%; } }
@media print { body { background: #fff; } section { break-inside: avoid; } nav { display: none; } }
"""


def escaped(text):
    return markup.escape(str(text))


def inline(text):
    """Text with `code`."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped(text))


def anchor(part):
    return re.sub(r"[^a-z0-9]+", "-", part["id"].lower())


def is_ours(name):
    return name.startswith("martlet")


# ---------------------------------------------------------------- charts

def steps(highest):
    """Round numbers for an axis from 0: at most six, the last one at or above the highest value."""
    if highest <= 0:
        return [0, 1]
    rough = highest / 5
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def number(value, digits):
    return f"{value:,.{digits}f}"


def tick_text(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"


def grid_lines(ticks):
    return "".join(f'<line class="grid" x1="{100 * tick / ticks[-1]:.2f}%" x2="{100 * tick / ticks[-1]:.2f}%" y1="0" '
                   f'y2="100%"/>' for tick in ticks)


def whisker(bar, share):
    if bar.get("low") is None or bar["high"] == bar["low"]:
        return ""
    low, high = f"{share(bar['low']):.2f}%", f"{share(bar['high']):.2f}%"
    ends = "".join(f'<line class="whisker" x1="{end}" x2="{end}" y1="34%" y2="66%"/>' for end in (low, high))
    return f'<line class="whisker" x1="{low}" x2="{high}" y1="50%" y2="50%"/>{ends}'


def note(bar, chart):
    """What a pointer or a tap shows."""
    digits, unit = chart["digits"], chart["unit"]
    words = [f"{bar['name']}: {number(bar['value'], digits)} {unit}"]
    if bar.get("low") is not None:
        low, high = number(bar["low"], digits), number(bar["high"], digits)
        words.append(f"{chart.get('range', 'rounds')} from {low} to {high}")
    return ", ".join(words + [bar["note"]] if bar.get("note") else words)


def bar_row(bar, chart, ticks):
    kind = " ours" if bar.get("is_ours") or is_ours(bar["name"]) else " floor" if bar["name"] == "relay" else ""
    title = escaped(note(bar, chart))

    def share(value):
        return 100 * min(value, ticks[-1]) / ticks[-1]

    drawing = (f'{grid_lines(ticks)}<rect class="fill" x="0" y="20%" width="{share(bar["value"]):.2f}%" height="60%" '
               f'rx="2"/>{whisker(bar, share)}')
    return (f'<div class="bar{kind}" tabindex="0"><span class="name">{escaped(bar["name"])}</span>'
            f'<svg role="img" aria-label="{title}">{drawing}</svg>'
            f'<span class="value">{number(bar["value"], chart["digits"])}</span>'
            f'<span class="tip" aria-hidden="true">{title}</span></div>')


def axis_row(ticks):
    texts = []
    for tick in ticks:
        place, end = 100 * tick / ticks[-1], "start" if tick == 0 else "end" if tick == ticks[-1] else "middle"
        texts.append(f'<text class="tick" x="{place:.2f}%" y="70%" text-anchor="{end}">{tick_text(tick)}</text>')
    return f'<div class="bar axis"><span class="name"></span><svg aria-hidden="true">{"".join(texts)}</svg></div>'


def chart_text(chart):
    bars = chart["bars"]
    ticks = steps(max([bar["value"] for bar in bars] + [bar["high"] for bar in bars if bar.get("high") is not None]))
    rows = "".join(bar_row(bar, chart, ticks) for bar in bars)
    return f'<h3>{escaped(chart["title"])}</h3><div class="chart">{rows}{axis_row(ticks)}</div>'


# ---------------------------------------------------------------- tables

def table_text(columns, rows):
    head = "".join(f"<th>{inline(column)}</th>" for column in columns)
    lines = []
    for row in rows:
        long = ' class="long"' if len(str(row[0])) > 28 else ""
        cells = f"<td{long}>{inline(row[0])}</td>" + "".join(f"<td>{inline(cell)}</td>" for cell in row[1:])
        lines.append(f'<tr{" class=ours" if is_ours(str(row[0])) else ""}>{cells}</tr>')
    return (f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>')


def overview(parts):
    """The primary figure of every scenario and proxy; the best of each scenario set off."""
    shown = [part for part in parts if part["kind"] in ("load", "idle", "start", "paced") and part.get("charts")]
    if len(shown) < 2:
        return ""
    names = []
    for part in shown:
        names += [bar["name"] for bar in part["charts"][0]["bars"] if bar["name"] not in names + ["direct"]]
    names.sort(key=lambda name: (not is_ours(name), name == "relay", len(name) if is_ours(name) else 0))
    lines = []
    for part in shown:
        chart = part["charts"][0]
        values = {bar["name"]: bar["value"] for bar in chart["bars"]}
        best = min([value for name, value in values.items() if name in names and name != "relay"], default=None)
        cells = "".join(f'<td{" class=best" if values.get(name) == best else ""}>'
                        f'{number(values[name], chart["digits"]) if name in values else ""}</td>' for name in names)
        lines.append(f'<tr><td class="long"><a href="#{anchor(part)}">{escaped(part["id"])}</a> '
                     f'{escaped(part.get("short", part["title"]))}, {escaped(chart["unit"])}</td>{cells}</tr>')
    head = "".join(f'<th{" class=ours" if is_ours(name) else ""}>{escaped(name)}</th>' for name in names)
    return (f'<section id="overview"><h2>At a glance</h2><p class="text">Medians; less is better. The best proxy of a '
            f'row is set off; the relay, which looks at nothing, is the floor.</p><div class="wide"><table><thead><tr>'
            f'<th>scenario</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div></section>')


# ---------------------------------------------------------------- the page

def section(part):
    is_scenario = part["kind"] in ("load", "idle", "start", "paced")
    title = (f"<b>{escaped(part['id'])}</b>" if is_scenario else "") + inline(part["title"])
    texts = "".join(f'<p class="text">{inline(text)}</p>' for text in part.get("text", []))
    charts = "".join(chart_text(chart) for chart in part.get("charts", []) if chart["bars"])
    table = table_text(part["columns"], part["rows"]) if part.get("rows") else ""
    lost = "".join(f"<li>{inline(line)}</li>" for line in part.get("lost", []))
    lost = f'<div class="lost"><p>Lost rounds, which no figure includes:</p><ul>{lost}</ul></div>' if lost else ""
    return f'<section id="{anchor(part)}"><h2>{title}</h2>{texts}{charts}{table}{lost}</section>'


def html(result):
    of, parts = result["machine"], result["parts"]
    links = "".join(f'<a href="#{anchor(part)}">{escaped(part.get("link", part["id"]))}</a>' for part in parts)
    facts = "".join(f"<li>{name} <b>{escaped(value)}</b></li>" for name, value in
                    [("commit", of["commit"]), ("measured", of["day"]), ("CPUs", f"{of['cpus']} × {of['model']}"),
                     ("Linux", of["kernel"])])
    method = "".join(f"<p>{text}</p>" for text in METHOD)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Martlet: benchmarks of {escaped(of['commit'])}</title><style>{STYLE}</style></head>
<body><header><h1>Martlet beside other proxies</h1><ul class="facts">{facts}</ul><nav>{links}</nav></header>
<main>{overview(parts)}
{"".join(section(part) + chr(10) for part in parts)}</main>
<footer><h2>How it was measured</h2>{method}<p>The same figures for programs are in the JSON file beside this page;
Benchmarks/README.md says what each scenario and column is.</p></footer></body></html>
"""
