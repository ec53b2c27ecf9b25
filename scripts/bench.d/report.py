"""Renders the measurements as tables and compares them with the limits."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable
from pathlib import Path

from measured import FREE, Bar, Comparison, Measured

RELEASE = Path(__file__).resolve().parents[2] / "target/release"
STEPS = ["ca", "prompt", "skills", "git", "supervise"]
MARKS = ("<!-- from here on written by scripts/bench -->\n", "<!-- to here -->\n")
# The calls that the chain may make for the plan of the comparisons: the five steps with three skills and two parts of
# an identity, one more call for each of four directories, and one for smolvm's version.
MOST_CALLS = (2 + 3 + (1 + 3 * 3) + 7 + 1) + 4 + 1


def binary(step: str) -> list[str]:
    return [str(RELEASE / f"bottle-{step}")]


def bars(results: list[Comparison]) -> list[Bar]:
    """The limits and the values measured. Limits for whole steps apply only to the real smolvm."""
    found: list[Bar] = []

    def bar(what: str, measured: float | None, limit: float, unit: str, digits: int = 2) -> None:
        if measured is not None:
            found.append(Bar(what, f"≤ {limit:g}{unit}", f"{measured:.{digits}f}{unit}", measured <= limit))

    for result in results:
        what, is_real = f"{result.title}, {result.smolvm}", result.smolvm != FREE
        if result.title == "nothing to do":
            costs = zip(result.wall("bottle-skills"), result.wall("true"))
            more = statistics.median(ours - theirs for ours, theirs in costs)
            bar("start with nothing to do, more than true", more * 1e3, 2, " ms")
            bar("start with nothing to do, resident", kb(result.peak_kib), 3000, " kB", 0)
        elif result.title.endswith(" MiB of .git") and result.peak_kib is not None:
            bar(f"{what}, resident", kb(result.peak_kib), 16000, " kB", 0)
        elif result.title.endswith(" files and their .git") and result.peak_kib is not None:
            bar(f"{what}, resident", kb(result.peak_kib), 32000, " kB", 0)
        elif "floor" in result.costs:
            bar(f"{what}, ratio to the floor", result.ratio("provision", "floor"), 0.60, "")
            bar(f"{what}, `--jobs`, ratio to the floor", result.ratio("provision --jobs", "floor"), 0.45, "")
            if result.title == "first run":
                bar(f"{what}, calls", result.calls, MOST_CALLS, "", 0)
        elif result.title.startswith("bottle-") and is_real:
            bar(f"{what}, ratio to sh", result.ratio("bottle", "sh"), 1.05, "")
            bar(f"{what}, CPU ratio to sh", result.cpu_ratio("bottle", "sh"), 1.15, "")
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


def tables(measured: Measured) -> str:
    results, text = measured.comparisons, measured.circumstances + "\n\n"
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
        for result in mine:
            if "floor" in result.costs:
                head = [result.title, "calls", "ms", "ratio to the floor", "CPU ms", "CPU ratio to the floor"]
                text += table(head, [
                    [
                        name, str(result.calls_of_floor if name == "floor" else result.calls), ms(result.wall(name)),
                        spread(result.ratios(name, "floor")), f"{result.cpu(name) * 1e3:.1f}",
                        f"{result.cpu_ratio(name, 'floor'):.2f}",
                    ]
                    for name in result.costs
                ])  # fmt: skip
        grown = [result for result in mine if result.title.endswith((" skill", " skills", " .git"))]
        head = ["growth", "calls", "ms", "sh, ms", "ratio", "CPU ms", "CPU ratio", "peak KiB"]
        text += table(head, [
            [
                result.title, str(result.calls), ms(result.wall("bottle")), ms(result.wall("sh")),
                spread(result.ratios("bottle", "sh")), f"{result.cpu('bottle') * 1e3:.1f}",
                f"{result.cpu_ratio('bottle', 'sh'):.2f}", str(result.peak_kib or "?"),
            ]
            for result in grown
        ]) if grown else ""  # fmt: skip
    text += "### The limits\n\n"
    if not any(result.smolvm != FREE for result in results):
        text += "The limits for whole steps need a real smolvm (`--machine`).\n\n"
    return text + table(
        ["what", "limit", "measured", ""],
        [[bar.what, bar.limit, bar.measured, "met" if bar.is_met else "**not met**"] for bar in measured.bars],
    )


def sentence(measured: Measured) -> str:
    """The ratio to the floor, for README.md. Of the first and the second run it is the one that takes longer."""
    worst: dict[str, list[float]] = {}
    for race in measured.races():
        kind = race.smolvm.split(", ")[-1]
        ratios = [race.ratio(name, "floor") for name in ("provision", "provision --jobs")]
        worst[kind] = [max(pair) for pair in zip(worst.get(kind, ratios), ratios)]
    shares = [f"{ratios[0]:.2f} (with `--jobs` {ratios[1]:.2f}) on {kind}" for kind, ratios in worst.items()]
    text = (
        "A bottle takes this share of the time of a plain sh script that does the same, one call after another: "
        f"{' and '.join(shares)}. Most of it is saved because the bundle of certificates is not made anew. "
        "`scripts/bench --machine NAME` measures it."
    )
    return textwrap.fill(text, 100, break_on_hyphens=False) + "\n"


def into(file: Path, text: str) -> None:
    before, after = file.read_text().split(MARKS[0])
    file.write_text(before + MARKS[0] + text + MARKS[1] + after.split(MARKS[1])[1])
