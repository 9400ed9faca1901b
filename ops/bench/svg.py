"""Plots as SVG, written by hand: the same data gives the same bytes."""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10

WIDTH, LEFT, RIGHT, LINE = 860, 330, 90, 26
COLOURS = ("#0969da", "#d4a72c", "#bc4c00", "#8250df", "#1a7f37")

#: The parts of a bar by name, in their order.
Parts = Mapping[str, float]


def bars(title: str, rows: Sequence[tuple[str, Parts]], unit: str) -> str:
    """Draw horizontal bars; one with several parts is stacked. The number is the sum."""
    names = list(dict.fromkeys(name for _, parts in rows for name in parts))
    scale = (WIDTH - LEFT - RIGHT) / (max(sum(parts.values()) for _, parts in rows) or 1)
    drawn = []
    for number, (label, parts) in enumerate(rows):
        x, y = float(LEFT), 76 + number * LINE
        drawn.append(f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
        for name, value in parts.items():
            width = value * scale
            colour = COLOURS[names.index(name)]
            drawn.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>')
            x += width
        drawn.append(f'<text x="{x + 8:.1f}" y="{y + 14}">{figure(sum(parts.values()))}{escape(unit)}</text>')
    return _page(title, names, drawn, 76 + len(rows) * LINE + 14)


def lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]], x_unit: str, y_unit: str) -> str:
    """Draw one line per name, with both axes from zero."""
    points = [point for line in series.values() for point in line]
    right, top = max(x for x, _ in points), max(y for _, y in points)
    left, bottom, width, height = 90, 370, WIDTH - 130, 280
    drawn = []
    for y in _ticks(top):
        at = bottom - y / top * height
        drawn.append(f'<path d="M{left} {at:.1f}H{left + width}" stroke="#d0d7de"/>')
        drawn.append(f'<text x="{left - 8}" y="{at + 5:.1f}" text-anchor="end">{y:,.0f}</text>')
    for x in _ticks(right):
        at = left + x / right * width
        drawn.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{x:,.0f}</text>')
    for number, line in enumerate(series.values()):
        path = " ".join(f"{left + x / right * width:.1f},{bottom - y / top * height:.1f}" for x, y in line)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="2"/>'
        )
    drawn.append(f'<text x="{left + width}" y="{bottom + 40}" text-anchor="end">{escape(x_unit)}</text>')
    drawn.append(f'<text x="{left - 8}" y="74" text-anchor="end">{escape(y_unit)}</text>')
    return _page(title, list(series), drawn, bottom + 56)


def figure(value: float) -> str:
    """Return a number with about three digits, and commas between thousands."""
    return f"{value:,.{max(0, 2 - floor(log10(value))) if 0 < value < 100 else 0}f}"


def _ticks(top: float) -> list[float]:
    """Return round values from 0 to `top`, four to eight of them."""
    step = 10.0 ** floor(log10(top))
    while top / step < 4:
        step /= 2
    return [number * step for number in range(floor(top / step) + 1)]


def _page(title: str, names: Sequence[str], drawn: Sequence[str], height: int) -> str:
    legend, x = [], 20
    for number, name in enumerate(names):
        legend.append(
            f'<rect x="{x}" y="46" width="12" height="12" fill="{COLOURS[number % len(COLOURS)]}"/>'
        )
        legend.append(f'<text x="{x + 18}" y="57">{escape(name)}</text>')
        x += 40 + 8 * len(name)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title"',
            'font-family="Helvetica, Arial, sans-serif" font-size="14" fill="#24292f">',
            f'<title id="title">{escape(title)}</title>',
            f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#ffffff"/>',
            f'<text x="20" y="30" font-size="16" font-weight="bold">{escape(title)}</text>',
            *(legend if len(names) > 1 else ()),
            *drawn,
            "</svg>\n",
        ]
    )
