"""Charts of traffic over time, as inline SVG, with no text from outside. The style sheet has the colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from chatmail_milter.figures.traffic import Flow, Piece, Traffic

WIDTH, HEIGHT = 720, 160
_LEFT, _BOTTOM, _TOP = 44, 20, 8
NAMES = {
    "submission": "submitted here",
    "out-https": "to peers by HTTPS",
    "out-smtp": "to peers by SMTP",
    "in-mxdeliv": "from peers by HTTPS",
    "in-smtp": "from peers by SMTP",
    "https": "to it by HTTPS",
    "smtp": "to it by SMTP",
    "inbound": "from it",
}


def messages(traffic: Traffic, title: str) -> Markup:
    """Messages per interval, a bar for all ways together; failures are on top."""
    stacks = [_stack(piece, traffic.total) for piece in traffic.pieces]
    most = max((sum(number for _, number in one) for one in stacks), default=0)
    return _drawn(traffic, title, most, lambda: _bars(traffic, stacks, most), _whole)


def latencies(traffic: Traffic, ways: Sequence[str], title: str) -> Markup:
    """The mean latency of successes per interval, a line for each of `ways`."""
    means = {way: [_mean(piece, way) for piece in traffic.pieces] for way in ways}
    most = max((one for row in means.values() for one in row if one is not None), default=0.0)
    return _drawn(traffic, title, most, lambda: _lines(means, most), lambda one: f"{one:.3g} s")


def _stack(piece: Piece, ways: Iterable[str]) -> list[tuple[str, int]]:
    good = [(way, piece.flows[way].successes) for way in ways if way in piece.flows]
    return [*good, ("failed", sum(one.failures for one in piece.flows.values()))]


def _mean(piece: Piece, way: str) -> float | None:
    flow: Flow | None = piece.flows.get(way)
    return None if flow is None else flow.mean


def _bars(traffic: Traffic, stacks: Sequence[Sequence[tuple[str, int]]], most: int) -> Iterator[str]:
    wide = (WIDTH - _LEFT) / len(stacks)
    for place, stack in enumerate(stacks):
        y = float(HEIGHT - _BOTTOM)
        for name, number in stack:
            if number:
                high = number / most * (HEIGHT - _BOTTOM - _TOP)
                y -= high
                said = f"{_time(traffic.pieces[place].at, traffic.step)}: {number} {NAMES.get(name, name)}"
                yield (
                    f'<rect class="way {name}" x="{_LEFT + place * wide + 1:.1f}" y="{y:.1f}"'
                    f' width="{max(wide - 2, 1):.1f}" height="{high:.1f}"><title>{said}</title></rect>'
                )


def _lines(means: dict[str, list[float | None]], most: float) -> Iterator[str]:
    for way, row in means.items():
        wide = (WIDTH - _LEFT) / len(row)
        points = [
            (_LEFT + (place + 0.5) * wide, HEIGHT - _BOTTOM - one / most * (HEIGHT - _BOTTOM - _TOP))
            for place, one in enumerate(row)
            if one is not None
        ]
        if points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            yield f'<polyline class="line {way}" points="{path}"><title>{NAMES[way]}</title></polyline>'
            for x, y in points:
                yield f'<circle class="way {way}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'


def _drawn(
    traffic: Traffic,
    title: str,
    most: float,
    inside: Callable[[], Iterator[str]],
    written: Callable[[float], str],
) -> Markup:
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(title)}</title>',
        f'<line class="axis" x1="{_LEFT}" y1="{HEIGHT - _BOTTOM}" x2="{WIDTH}" y2="{HEIGHT - _BOTTOM}"/>',
    ]
    if most:
        parts += inside()
        parts.append(f'<text x="{_LEFT - 6}" y="{_TOP + 10}" class="end">{written(most)}</text>')
    else:
        parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" class="middle">Nothing yet</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{HEIGHT - _BOTTOM}" class="end">0</text>')
    number = len(traffic.pieces)
    for place in range(0, number, max(number // 6, 1)):
        x = _LEFT + (place + 0.5) * (WIDTH - _LEFT) / number
        at = _time(traffic.pieces[place].at, traffic.step)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 5}" class="middle">{at}</text>')
    # Made of numbers and of our own words: there is nothing to escape in it.
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704


def _whole(number: float) -> str:
    return f"{number:.0f}"


def _time(at: datetime, step: timedelta) -> str:
    if step < timedelta(hours=6):
        return f"{at:%H:%M}"
    return f"{at:%d %b}" if step >= timedelta(days=1) else f"{at:%d %b %H h}"
