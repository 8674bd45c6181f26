"""Small pictures drawn on the server: a trend as a line, shares as a bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Spark:
    """The points of a small line, of the area below it, and of its end."""

    line: str
    area: str
    x: float
    y: float


def spark(values: Sequence[float], *, width: float = 112, height: float = 30) -> Spark | None:
    """Return the line through some values, oldest first; None for fewer than three."""
    if len(values) < 3:
        return None
    low, high = min(values), max(values)
    room, edge = height - 8, 4.0
    step = (width - 2 * edge) / (len(values) - 1)
    points = []
    for n, value in enumerate(values):
        part = (value - low) / (high - low) if high > low else 0.5
        points.append((round(edge + n * step, 1), round(height - edge - part * room, 1)))
    line = " ".join(f"{x},{y}" for x, y in points)
    area = f"{points[0][0]},{height} {line} {points[-1][0]},{height}"
    return Spark(line, area, *points[-1])


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a bar: where it begins and how long it is, of 1000."""

    name: str
    x: float
    width: float
    value: float


def parts(sizes: Sequence[tuple[str, float]], *, total: float | None = None) -> list[Part]:
    """Return the pieces of a bar of 1000, in order; what is zero is left out."""
    whole = sum(size for _, size in sizes) if total is None else total
    at, made = 0.0, []
    for name, size in sizes:
        if size <= 0 or whole <= 0:
            continue
        width = 1000 * size / whole
        made.append(Part(name, round(at, 2), round(width, 2), size))
        at += width
    return made


def bars(counts: Sequence[dict[str, Any]], *, height: float = 60) -> list[dict[str, Any]]:
    """Return bars side by side over 1000: each with x, y, width, height and its own facts."""
    top = max((row["n"] for row in counts), default=0) or 1
    step = 1000 / max(len(counts), 1)
    return [
        {
            **row,
            "x": round(n * step, 2),
            "width": round(max(step * 0.8, 0.5), 2),
            "y": round(height - height * row["n"] / top, 2),
            "height": round(height * row["n"] / top, 2),
        }
        for n, row in enumerate(counts)
    ]
