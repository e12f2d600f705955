"""Geometry of the charts on the pages; ``templates/_charts.html`` draws it as SVG."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app import formats
from app.language import day_of, decimal

WIDTH, HEIGHT = 640, 272
LEFT, RIGHT, TOP, BOTTOM = 56, 72, 28, 44
MOST_POINTS = 300  # a line is no smoother with more
MOST_BAR = 40
MOST_MARKS = 25  # points are marked where each is one round


@dataclass(frozen=True)
class Series:
    """A line to draw: ``points`` of (x, y); ``second`` draws it dashed and quiet."""

    name: str
    points: Sequence[tuple[float, float]]
    second: bool = False
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Dot:
    """A pair in a scatter: ``kind`` is "", "chosen" or "audit"."""

    x: float
    y: float
    title: str
    kind: str = ""
    href: str | None = None


@dataclass(frozen=True)
class Scale:
    """Maps values in [low, high] to pixels, with round ticks inside."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of ``value``."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, label) of at most seven round values."""
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        values = [k * step for k in range(first, last + 1)]
        return [(self(v), decimal(v, digits)) for v in values]


@dataclass(frozen=True)
class Calendar(Scale):
    """A scale of days, by their ordinals."""

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, day) of at most six days, the last one among them."""
        first, last = math.ceil(self.low), math.floor(self.high)
        every = max(1, math.ceil((last - first + 1) / 6))
        days = range(last, first - 1, -every)
        return [(self(day), day_of(dt.date.fromordinal(day))) for day in sorted(days)]


@dataclass(frozen=True)
class Bar:
    """A drawn bar, in pixels, and what it says."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Line:
    """A drawn series: SVG path, and where its direct label stands."""

    name: str
    path: str
    second: bool
    end: tuple[float, float]
    value: str
    band: str = ""
    marks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Plot:
    """Everything a template needs to draw one chart."""

    title: str
    x_label: str
    y_label: str
    x: Scale
    y: Scale
    lines: list[Line] = field(default_factory=list)
    dots: list[tuple[float, float, Dot]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    right: int = WIDTH - RIGHT


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))


def _scale(values: Iterable[float], start: float, stop: float, pad: float = 0.05) -> Scale:
    known = [v for v in values if math.isfinite(v)]
    low, high = min(known), max(known)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    margin = (high - low) * pad
    return Scale(low - margin, high + margin, start, stop)


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    kept = list(points[::every])
    if kept and kept[-1] != points[-1]:
        kept.append(points[-1])
    return kept


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def lines(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    y_range: tuple[float, float] | None = None,
) -> Plot | None:
    """A line chart; None where there is nothing to draw. ``y_range`` fixes the vertical axis."""
    drawn = [_finite(s) for s in series]
    drawn = [s for s in drawn if s.points]
    if not drawn:
        return None
    x = _scale((p[0] for s in drawn for p in s.points), LEFT, WIDTH - RIGHT, 0)
    ends = [v for s in drawn for v in (*(p[1] for p in s.points), *s.low, *s.high)]
    bottom, top = HEIGHT - BOTTOM, TOP
    y = Scale(*y_range, bottom, top) if y_range else _scale(ends, bottom, top)
    made = [_line(s, x, y) for s in drawn]
    return Plot(title, x_label, y_label, x, y, lines=_apart(made))


def _finite(series: Series) -> Series:
    if series.low:
        return series
    points = [p for p in series.points if math.isfinite(p[1])]
    return Series(series.name, points, series.second)


def _line(series: Series, x: Scale, y: Scale) -> Line:
    pixels = [(x(a), y(b)) for a, b in _thin(series.points)]
    band = ""
    if series.low:
        over = [(x(p[0]), y(h)) for p, h in zip(series.points, series.high, strict=True)]
        under = [(x(p[0]), y(v)) for p, v in zip(series.points, series.low, strict=True)]
        band = _path(over + under[::-1]) + "Z"
    value = formats.significant(series.points[-1][1])
    marks = tuple(pixels) if len(pixels) <= MOST_MARKS else ()
    return Line(series.name, _path(pixels), series.second, pixels[-1], value, band, marks)


def _apart(made: list[Line]) -> list[Line]:
    """Direct labels of lines that end close together are moved apart."""
    order = sorted(range(len(made)), key=lambda i: made[i].end[1])
    floor = -math.inf
    for i in order:
        x, y = made[i].end
        floor = max(y, floor + 28)
        made[i] = Line(**{**vars(made[i]), "end": (x, floor)})
    return made


def scatter(title: str, x_label: str, y_label: str, dots: Sequence[Dot]) -> Plot | None:
    """A scatter, chosen dots on top; None where there is nothing to draw."""
    known = [d for d in dots if math.isfinite(d.x) and math.isfinite(d.y)]
    if not known:
        return None
    x = _scale((d.x for d in known), LEFT, WIDTH - 16)
    y = _scale((d.y for d in known), HEIGHT - BOTTOM, TOP)
    order = sorted(known, key=lambda d: d.kind != "")
    return Plot(
        title, x_label, y_label, x, y, dots=[(x(d.x), y(d.y), d) for d in order], right=WIDTH - 16
    )


def days(title: str, y_label: str, values: Sequence[tuple[dt.date, float, str]]) -> Plot | None:
    """A bar for each day; None where there is nothing to draw.

    Args:
        values: (day, height, what else its bar says), a day without one stays empty.
    """
    if not values:
        return None
    first, last = values[0][0].toordinal(), values[-1][0].toordinal()
    x = Calendar(first - 0.5, last + 0.5, LEFT, WIDTH - 16)
    top = max(value for _, value, _ in values) or 1.0
    y = Scale(0.0, top * 1.05, HEIGHT - BOTTOM, TOP)
    width = max(1.0, min(MOST_BAR, 0.8 * (x.stop - x.start) / (last - first + 1)))
    bars = [
        Bar(
            round(x(day.toordinal()) - width / 2, 1),
            y(value),
            round(width, 1),
            round(y.start - y(value), 1),
            ", ".join([f"{day_of(day)}: {formats.significant(value)}", *([more] if more else [])]),
        )
        for day, value, more in values
    ]
    return Plot(title, "", y_label, x, y, bars=bars, right=WIDTH - 16)
