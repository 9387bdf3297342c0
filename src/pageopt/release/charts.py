"""Plots of the release report as SVG text: no script, no network, nothing to wait for."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

COLORS = ("#2563a8", "#c2571a", "#2c7a4b", "#7a4ba0", "#8a6d00", "#00738a")
_WIDTH = 640


@dataclass(frozen=True)
class Interval:
    """A row of an interval plot; `truth` is drawn as a diamond where it is known."""

    label: str
    value: float
    low: float
    high: float
    truth: float | None = None


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _percent(value: float, step: float) -> str:
    return f"{value * 100:.{max(0, -math.floor(math.log10(step * 100) + 1e-9))}f} %" if step > 0 else f"{value:.2%}"


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {extra}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, extra: str = 'class="grid"') -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {extra}/>'


def _room_for(labels: Iterable[str]) -> float:
    """Width that row labels need, from 210 to half of the plot."""
    return min(max(210.0, 10 + 6.6 * max(map(len, labels))), _WIDTH / 2)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """The range with room at both ends: a share of it, or where it is a single value some of that."""
    pad = (high - low) * share or abs(high) * 0.1 or 1e-3
    return low - pad, high + pad


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value stands if `low` stands at `start` and `high` at `end`."""
    return lambda value: start + (value - low) / ((high - low) or 1) * (end - start)


def _legend(names: Iterable[str], left: float, top: float) -> list[str]:
    """The names below each other, each beside a dot of its color."""
    parts = []
    for number, name in enumerate(names):
        level = top + 8 + 20 * number
        parts += [
            f'<circle cx="{left + 20}" cy="{level}" r="5" fill="{COLORS[number % len(COLORS)]}"/>',
            _text(left + 32, level + 4, name),
        ]
    return parts


def _percent_axis(
    low: float, high: float, left: float, right: float, top: float, bottom: float
) -> tuple[Callable[[float], float], list[str]]:
    """Where a value between `low` and `high` stands across the plot, and lines with percentages for those to read."""

    x = _scale(low, high, left, _WIDTH - right)
    marks = ticks(low, high)
    step = marks[1] - marks[0] if len(marks) > 1 else abs(high)
    parts = []
    for mark in marks:
        parts += [_line(x(mark), top, x(mark), bottom), _text(x(mark), bottom + 16, _percent(mark, step), "middle")]
    return x, parts


def intervals(rows: Sequence[Interval], title: str) -> str:
    """Estimates with their intervals, one row each, values as percentages."""
    left, right, row_height, top = _room_for(row.label for row in rows), 90, 26, 8
    numbers = [x for row in rows for x in (row.low, row.high, row.value, row.truth) if x is not None]
    low, high = _padded(min(numbers), max(numbers), 0.06)
    bottom = top + row_height * len(rows)

    x, parts = _percent_axis(low, high, left, right, top, bottom)
    for number, row in enumerate(rows):
        y = top + row_height * (number + 0.5)
        parts += [
            _text(left - 10, y + 4, row.label, "end"),
            _line(x(row.low), y, x(row.high), y, f'stroke="{COLORS[0]}" stroke-width="3" stroke-linecap="round"'),
            f'<circle cx="{x(row.value):.1f}" cy="{y:.1f}" r="5" fill="{COLORS[0]}"/>',
            _text(_WIDTH - right + 12, y + 4, f"{row.value:.3%}"),
        ]
        if row.truth is not None:
            parts.append(
                f'<path d="M{x(row.truth):.1f} {y - 7:.1f} l7 7 l-7 7 l-7 -7 z" fill="none" '
                f'stroke="{COLORS[1]}" stroke-width="2.5"/>'
            )
    return _svg(_WIDTH, bottom + 24, title, parts)


@dataclass(frozen=True)
class Point:
    """An estimate with its interval over the true value, of one of the series of a scatter plot."""

    series: str
    label: str
    truth: float
    value: float
    low: float
    high: float


def scatter(points: Sequence[Point], title: str, x_label: str = "true value", y_label: str = "estimate") -> str:
    """Estimates over true values with their intervals and the diagonal, a color a series, both as percentages.

    Intervals that reach far beyond the values are cut at the edge of the plot.
    """
    left, right, top, height = 66, 150, 10, 330
    names = list(dict.fromkeys(point.series for point in points))
    values = [number for point in points for number in (point.truth, point.value)]
    low, high = _padded(min(values), max(values), 0.15)
    x, up = _scale(low, high, left, _WIDTH - right), _scale(high, low, top, top + height)

    def y(value: float) -> float:
        return up(min(max(value, low), high))

    marks = ticks(low, high)
    step = marks[1] - marks[0] if len(marks) > 1 else abs(high)
    parts = []
    for mark in marks:
        parts += [
            _line(left, y(mark), _WIDTH - right, y(mark)),
            _text(left - 8, y(mark) + 4, _percent(mark, step), "end"),
            _text(x(mark), top + height + 18, _percent(mark, step), "middle"),
        ]
    parts.append(_line(x(low), y(low), x(high), y(high), 'class="zero" stroke-dasharray="5 4"'))
    for point in points:
        color = COLORS[names.index(point.series) % len(COLORS)]
        across = x(point.truth)
        parts += [
            _line(across, y(point.low), across, y(point.high), f'stroke="{color}" stroke-opacity="0.35"'),
            f'<circle cx="{across:.1f}" cy="{y(point.value):.1f}" r="3.5" fill="{color}">'
            f"<title>{escape(point.label)}</title></circle>",
        ]
    parts += _legend(names, _WIDTH - right, top)
    parts.append(_text((left + _WIDTH - right) / 2, top + height + 38, f"{x_label} (across), {y_label} (up)", "middle"))
    return _svg(_WIDTH, top + height + 48, title, parts)


def distributions(series: Mapping[str, Sequence[float]], title: str) -> str:
    """Where numbers lie around zero, one row a name, as percentages.

    The box holds the middle half, the whiskers 95 %, the line is the median, the diamond the mean.
    """
    left, right, row_height, top = 210, 20, 26, 8
    whiskers = {name: np.quantile(numbers, [0.025, 0.25, 0.5, 0.75, 0.975]) for name, numbers in series.items()}
    low = min(0.0, *(float(five[0]) for five in whiskers.values()))
    high = max(0.0, *(float(five[-1]) for five in whiskers.values()))
    low, high = _padded(low, high, 0.06)
    bottom = top + row_height * len(series)

    x, parts = _percent_axis(low, high, left, right, top, bottom)
    parts.append(_line(x(0), top, x(0), bottom, 'class="zero"'))
    for number, (name, numbers) in enumerate(series.items()):
        y = top + row_height * (number + 0.5)
        least, lower, median, upper, most = (x(float(value)) for value in whiskers[name])
        mean = x(float(np.mean(numbers)))
        parts += [
            _text(left - 10, y + 4, name, "end"),
            _line(least, y, most, y, f'stroke="{COLORS[0]}" stroke-width="1.5"'),
            f'<rect x="{lower:.1f}" y="{y - 7:.1f}" width="{max(upper - lower, 1):.1f}" height="14" rx="2" '
            f'fill="{COLORS[0]}" fill-opacity="0.55"/>',
            _line(median, y - 7, median, y + 7, f'stroke="{COLORS[0]}" stroke-width="2.5"'),
            f'<path d="M{mean:.1f} {y - 6:.1f} l6 6 l-6 6 l-6 -6 z" fill="{COLORS[1]}"/>',
        ]
    return _svg(_WIDTH, bottom + 24, title, parts)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], title: str, x_label: str) -> str:
    """Lines with points, one a name; points that are not finite are left out."""
    kept = {
        name: [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)] for name, points in series.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    xs = [a for points in kept.values() for a, _ in points]
    ys = [b for points in kept.values() for _, b in points]
    left, right, top, height = 60, 160, 10, 210
    low, high = _padded(min(ys), max(ys), 0.05)
    x, y = _scale(min(xs), max(xs), left, _WIDTH - right), _scale(high, low, top, top + height)
    parts = []
    for mark in ticks(low, high):
        parts += [_line(left, y(mark), _WIDTH - right, y(mark)), _text(left - 8, y(mark) + 4, f"{mark:.4g}", "end")]
    for mark in sorted(set(xs)) if len(set(xs)) <= 12 else ticks(min(xs), max(xs)):
        parts.append(_text(x(mark), top + height + 18, f"{mark:g}", "middle"))
    parts.append(_text((left + _WIDTH - right) / 2, top + height + 36, x_label, "middle"))
    for number, points in enumerate(kept.values()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{color}"/>' for a, b in points]
    parts += _legend(kept, _WIDTH - right, top)
    return _svg(_WIDTH, max(top + height + 44, top + 20 * len(kept) + 10), title, parts)


def curves(series: Mapping[str, Sequence[Interval]], title: str, x_label: str) -> str:
    """Lines with intervals as percentages, one a name; labels of the points stand at equal distances."""
    left, right, top, height = 66, 230, 10, 250
    points = [point for of in series.values() for point in of]
    labels = list(dict.fromkeys(point.label for point in points))
    if not points:
        return _svg(_WIDTH, 20, title, [])
    low, high = _padded(min(0.0, *(p.low for p in points)), max(0.0, *(p.high for p in points)), 0.05)
    x, y = _scale(-0.3, len(labels) - 0.7, left, _WIDTH - right), _scale(high, low, top, top + height)
    marks = ticks(low, high)
    parts = []
    for mark in marks:
        shown = _percent(mark, marks[1] - marks[0] if len(marks) > 1 else abs(high))
        parts += [_line(left, y(mark), _WIDTH - right, y(mark)), _text(left - 8, y(mark) + 4, shown, "end")]
    parts.append(_line(left, y(0), _WIDTH - right, y(0), 'class="zero"'))
    parts += [_text(x(number), top + height + 18, label, "middle") for number, label in enumerate(labels)]
    parts.append(_text((left + _WIDTH - right) / 2, top + height + 36, x_label, "middle"))
    for number, of in enumerate(series.values()):
        color, beside = COLORS[number % len(COLORS)], 0.05 * (number - (len(series) - 1) / 2)
        at = [(x(labels.index(point.label) + beside), point) for point in of]
        path = " ".join(f"{across:.1f},{y(point.value):.1f}" for across, point in at)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for across, point in at:
            bar = f'stroke="{color}" stroke-opacity="0.45" stroke-width="2"'
            parts += [
                _line(across, y(point.low), across, y(point.high), bar),
                f'<circle cx="{across:.1f}" cy="{y(point.value):.1f}" r="4" fill="{color}">'
                f"<title>{point.value:+.1%} ({point.low:+.1%} to {point.high:+.1%})</title></circle>",
            ]
    parts += _legend(series, _WIDTH - right, top)
    return _svg(_WIDTH, top + height + 44, title, parts)


def heat(shares: NDArray[np.float64], rows: Sequence[str], columns: Sequence[str], title: str) -> str:
    """Shares [rows, columns] as shaded cells with their percentages."""
    left, top, cell_height = 130, 22, 22
    cell = min(64.0, (_WIDTH - left) / max(1, len(columns)))
    most = float(shares.max(initial=0)) or 1.0
    parts = [_text(left + cell * (n + 0.5), top - 7, name, "middle") for n, name in enumerate(columns)]
    for r, name in enumerate(rows):
        y = top + r * cell_height
        parts.append(_text(left - 8, y + 15, name, "end"))
        for c in range(len(columns)):
            share = float(shares[r, c])
            x = left + c * cell
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 1:.1f}" height="{cell_height - 1}" '
                f'fill="{COLORS[0]}" fill-opacity="{0.05 + 0.95 * share / most:.3f}"/>'
            )
            shade = 'class="light"' if share / most > 0.5 else 'class="small"'
            parts.append(_text(x + cell / 2, y + 15, f"{share:.0%}", "middle", shade))
    return _svg(left + cell * len(columns) + 4, top + cell_height * len(rows) + 4, title, parts)
