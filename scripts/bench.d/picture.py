"""Draws where the time of one bottle goes, as an SVG. The same measurements give the same bytes."""

from __future__ import annotations

import statistics
from html import escape

from measured import Comparison, Measured, Timeline

WIDTH, LEFT, RIGHT = 900, 150, 220
BAR, GAP = 13, 3
# Names of contestants in the picture.
NAMES = {"floor": "floor", "provision": "ours", "provision --jobs": "ours, --jobs", "ours": "ours"}
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.step { font-weight: 600 }
.small { fill: #59636e }
.ours { fill: #0969da }
.floor { fill: #bc4c00 }
.rest { opacity: 0.35 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.small { fill: #9198a1 }
.ours { fill: #4493f8 }
.floor { fill: #db6d28 }
}
"""


class Drawing:
    """Elements of the picture, from top to bottom."""

    def __init__(self, longest: float) -> None:
        self.scale = (WIDTH - LEFT - RIGHT) / longest
        self.y = 0.0
        self.elements: list[str] = []

    def text(self, x: float, y: float, kind: str, text: str, anchor: str = "start") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.elements.append(f'<text {place} class="{kind}">{escape(text)}</text>')

    def box(self, x: float, width: float, kind: str, title: str) -> None:
        place = f'x="{x:.1f}" y="{self.y:.1f}" width="{width:.1f}" height="{BAR}"'
        self.elements.append(f'<rect {place} class="{kind}"><title>{escape(title)}</title></rect>')

    def bar(self, contestant: str, wall: float, parts: list[tuple[str, float]], note: str) -> None:
        """A bar as long as `wall`, in which the parts are strong, and what is left is pale."""
        name = NAMES[contestant]
        colour = "floor" if contestant == "floor" else "ours"
        x, end = float(LEFT), LEFT + wall * self.scale
        for title, seconds in parts:
            # A call may be as short as a line. The gap between two calls is taken from the first.
            width = min(seconds * self.scale, end - x)
            self.box(x, max(width - 1, 0.5), colour, f"{name}: {title}, {seconds * 1e3:.0f} ms")
            x += width
        if end - x >= 0.5:
            rest = wall - sum(seconds for _, seconds in parts)
            self.box(x, end - x, f"{colour} rest", f"{name}: outside of calls, {rest * 1e3:.0f} ms")
        self.text(end + 6, self.y + BAR - 2.5, "small", note)
        self.y += BAR + GAP


def picture(measured: Measured) -> str:
    races = [race for race in measured.races() if race.title == "first run"]
    if not races:
        raise SystemExit("bench: without a machine there is nothing to draw")
    drawing = Drawing(max(statistics.median(race.wall(name)) for race in races for name in race.costs))
    drawing.text(0, 18, "title", "Where the time of one bottle goes")
    drawing.text(0, 38, "small", "Every strong piece is a smolvm call; what is pale is spent outside of calls. The")
    drawing.text(0, 54, "small", "floor is a plain sh script that makes the same calls one after another.")
    drawing.y = 84
    for race in races:
        timelines = [timeline for timeline in measured.timelines if timeline.smolvm == race.smolvm]
        draw_machine(drawing, race, timelines)
    height = drawing.y
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" role="img">\n'
        f"<title>Where the time of one bottle goes</title>\n<style>{STYLE}</style>\n"
        + "".join(f"{element}\n" for element in drawing.elements)
        + "</svg>\n"
    )


def draw_machine(drawing: Drawing, race: Comparison, timelines: list[Timeline]) -> None:
    drawing.text(0, drawing.y, "title", race.smolvm)
    drawing.y += 14
    label(drawing, "the whole bottle", f"{race.calls} calls")
    for name in ("provision", "provision --jobs", "floor"):
        wall = statistics.median(race.wall(name))
        ratio = "" if name == "floor" else f", {race.ratio(name, 'floor'):.2f} of the floor"
        drawing.bar(name, wall, [("the whole bottle", wall)], f"{NAMES[name]}, {wall * 1e3:.0f} ms{ratio}")
    drawing.y += 9
    for step in dict.fromkeys(timeline.step for timeline in timelines):
        drawn = [timeline for timeline in timelines if timeline.step == step]
        calls = [len(timeline.calls) for timeline in drawn]
        label(drawing, f"bottle-{step}", f"{calls[0]} call{'s' if calls[0] != 1 else ''}")
        for timeline in drawn:
            parts = [(call.name, call.wall) for call in timeline.calls]
            name = NAMES[timeline.contestant]
            drawing.bar(timeline.contestant, timeline.wall, parts, f"{name}, {timeline.wall * 1e3:.0f} ms")
        drawing.y += 9
    drawing.y += 22


def label(drawing: Drawing, name: str, calls: str) -> None:
    drawing.text(LEFT - 10, drawing.y + BAR - 2.5, "step", name, "end")
    drawing.text(LEFT - 10, drawing.y + BAR * 2 + GAP - 2.5, "small", calls, "end")
