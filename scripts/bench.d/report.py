"""Renders the measurements as tables and compares them with the limits."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contest import FREE, Comparison

RELEASE = Path(__file__).resolve().parents[2] / "target/release"
STEPS = ["ca", "prompt", "skills", "git", "supervise"]
MARKS = ("<!-- from here on written by scripts/bench -->\n", "<!-- to here -->\n")


def binary(step: str) -> list[str]:
    return [str(RELEASE / f"bottle-{step}")]


@dataclass(frozen=True)
class Bar:
    what: str
    limit: str
    measured: str
    is_met: bool


def bars(results: list[Comparison]) -> list[Bar]:
    """The limits and the values measured. Limits for whole steps apply only to the real smolvm."""
    found: list[Bar] = []

    def bar(what: str, measured: float | None, limit: float, unit: str, digits: int = 2) -> None:
        if measured is not None:
            found.append(Bar(what, f"≤ {limit:g}{unit}", f"{measured:.{digits}f}{unit}", measured <= limit))

    for result in results:
        what, is_real = f"{result.title}, {result.smolvm}", result.smolvm != FREE
        if result.title == "nothing to do":
            bar("start with nothing to do", statistics.median(result.wall("bottle-skills")) * 1e3, 3, " ms")
            bar("start with nothing to do, resident", kb(result.peak_kib), 4000, " kB", 0)
        elif result.title.endswith(" of .git") and result.peak_kib is not None:
            bar(f"{what}, resident", kb(result.peak_kib), 16000, " kB", 0)
        elif result.title == "five steps" and is_real:
            bar(f"{what}, ratio to sh", result.ratio("provision", "sh"), 1.05, "")
            bar(f"{what}, `--jobs`, ratio to sh", result.ratio("provision --jobs", "sh"), 0.85, "")
        elif result.title.startswith("bottle-") and is_real:
            bar(f"{what}, ratio to sh", result.ratio("bottle", "sh"), 1.05, "")
            bar(f"{what}, CPU ratio to sh", result.cpu_ratio("bottle", "sh"), 1, "")
    for step in STEPS:
        bar(f"size of bottle-{step}", Path(*binary(step)).stat().st_size / 1e6, 1.5, " MB", 3)
    return found


def kb(kib: int | None) -> float | None:
    return None if kib is None else kib * 1.024


def ms(seconds: Iterable[float]) -> str:
    """The median, with the quartiles in brackets."""
    values = [value * 1e3 for value in seconds]
    low, middle, high = statistics.quantiles(values, n=4)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def spread(ratios: list[float]) -> str:
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f}–{high:.2f})"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def tables(results: list[Comparison], circumstances: str) -> str:
    text = circumstances
    for smolvm in dict.fromkeys(result.smolvm for result in results):
        mine = [result for result in results if result.smolvm == smolvm]
        text += f"### {smolvm[0].upper()}{smolvm[1:]}\n\n"
        rows = []
        for result in mine:
            if result.title.startswith("bottle-"):
                rows.append([
                    result.title, str(result.calls), ms(result.wall("bottle")), ms(result.wall("sh")),
                    spread(result.ratios("bottle", "sh")), f"{result.cpu_ratio('bottle', 'sh'):.2f}",
                ])  # fmt: skip
        head = ["step", "calls", "ms", "sh, ms", "ratio", "CPU ratio"]
        text += table(head, rows) if rows else ""
        for result in mine:
            if result.title in ("five steps", "nothing to do"):
                last = "sh" if result.title == "five steps" else "true"
                head = [result.title, "ms", f"ratio to {last}", "CPU ms"]
                text += table(head, [
                    [name, ms(result.wall(name)), spread(result.ratios(name, last)), f"{result.cpu(name) * 1e3:.1f}"]
                    for name in result.costs
                ])  # fmt: skip
        grown = [result for result in mine if result.title.endswith((" skill", " skills", " of .git"))]
        head = ["growth", "calls", "ms", "sh, ms", "ratio", "CPU ms", "CPU ratio", "peak KiB"]
        text += table(head, [
            [
                result.title, str(result.calls), ms(result.wall("bottle")), ms(result.wall("sh")),
                spread(result.ratios("bottle", "sh")), f"{result.cpu('bottle') * 1e3:.1f}",
                f"{result.cpu_ratio('bottle', 'sh'):.2f}", str(result.peak_kib or "?"),
            ]
            for result in grown
        ]) if grown else ""  # fmt: skip
    text += where(results) + "### The limits\n\n"
    if not any(result.smolvm != FREE for result in results):
        text += "The limits for whole steps need a real smolvm (`--machine`).\n\n"
    return text + table(
        ["what", "limit", "measured", ""],
        [[bar.what, bar.limit, bar.measured, "met" if bar.is_met else "**not met**"] for bar in bars(results)],
    )


def where(results: list[Comparison]) -> str:
    """A bar for each step that shows how much of its time is left if the calls cost nothing."""
    ours = {result.title: result for result in results if result.smolvm == FREE}
    rows = []
    for result in results:
        name = "provision" if result.title == "five steps" else "bottle"
        if result.smolvm != FREE and result.title in ours and name in result.costs:
            own, whole = (statistics.median(measured.wall(name)) for measured in (ours[result.title], result))
            light = max(1, round(own / whole * 40))
            rows.append(
                [result.title, f"{whole * 1e3:.0f}", f"{own * 1e3:.1f}", f"`{'█' * (40 - light)}{'░' * light}`"]
            )
    head = ["", "ms", "our own ms", "█ smolvm and the guest, ░ our own"]
    return "### Where the time goes\n\n" + table(head, rows) if rows else ""


def into(file: Path, text: str) -> None:
    before, after = file.read_text().split(MARKS[0])
    file.write_text(before + MARKS[0] + "\n" + text + MARKS[1] + after.split(MARKS[1])[1])
