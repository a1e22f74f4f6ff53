#!/usr/bin/env python3
"""Draws the chart of README.md from what benches/compare.py has measured.

    benches/compare.py --json numbers.json && benches/chart.py numbers.json > docs/unpack.svg

A bar is the median wall time of a tool, the line in it the span from the fastest run to the slowest. Numbers of
different files, such as of different images, are not to be compared.
"""

import html
import json
import statistics
import sys

WIDTH, LABEL, ROW, BAR = 760, 130, 30, 18
COLOURS = {"bundle": "#2f7ed8", "other": "#9aa5b1"}


def rows(kind, found):
    """The head of a file system and its tools, the fastest first: (name, fastest, median, slowest)."""
    spans = [(tool, min(walls), statistics.median(walls), max(walls))
             for tool, runs in found.items() for walls in [[run["wall"] for run in runs]]]
    return kind, sorted(spans, key=lambda span: span[2])


def draw(groups):
    longest = max(span[3] for _, spans in groups for span in spans)
    scale = (WIDTH - LABEL - 110) / longest
    height = 24 + sum(ROW * (len(spans) + 1) + 12 for _, spans in groups)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
           'font-family="sans-serif" font-size="14">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']
    y = 12
    for kind, spans in groups:
        y += ROW
        out.append(f'<text x="{LABEL}" y="{y - 9}" font-weight="bold">unpack onto {html.escape(kind)}: seconds, median</text>')
        for tool, fastest, median, slowest in spans:
            middle = y + BAR / 2
            colour = COLOURS["bundle" if tool == "bundle" else "other"]
            out += [f'<text x="{LABEL - 8}" y="{middle + 5}" text-anchor="end">{html.escape(tool)}</text>',
                    f'<rect x="{LABEL}" y="{y}" width="{median * scale:.1f}" height="{BAR}" fill="{colour}"/>',
                    f'<line x1="{LABEL + fastest * scale:.1f}" x2="{LABEL + slowest * scale:.1f}" '
                    f'y1="{middle}" y2="{middle}" stroke="#333333"/>',
                    f'<text x="{LABEL + slowest * scale + 8:.1f}" y="{middle + 5}">{median:.2f}</text>']
            y += ROW
        y += 12
    out.append("</svg>")
    return "\n".join(out)


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf8") as fh:
        measured = json.load(fh)
    print(draw([rows(kind, found) for kind, found in measured.items()]))


if __name__ == "__main__":
    main()
