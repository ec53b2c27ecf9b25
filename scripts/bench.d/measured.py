"""What a run of scripts/bench measures, as data that is written to JSON and read from it."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

FREE = "calls that cost nothing"


@dataclass(frozen=True)
class Cost:
    """The cost of one run, in seconds."""

    wall: float
    cpu: float


Costs = list[Cost]


@dataclass
class Comparison:
    """The costs of contestants that took turns. The first one is compared with each of the others."""

    title: str
    smolvm: str
    costs: dict[str, Costs]
    calls: int | None = None
    peak_kib: int | None = None
    calls_of_floor: int | None = None

    def wall(self, name: str) -> list[float]:
        return [cost.wall for cost in self.costs[name]]

    def cpu(self, name: str) -> float:
        return statistics.median(cost.cpu for cost in self.costs[name])

    def ratios(self, name: str, other: str) -> list[float]:
        """The ratio of each round. What slows the machine down in a round slows down both."""
        return [ours / theirs for ours, theirs in zip(self.wall(name), self.wall(other))]

    def ratio(self, name: str, other: str) -> float:
        return statistics.median(self.ratios(name, other))

    def cpu_ratio(self, name: str, other: str) -> float:
        costs = zip(self.costs[name], self.costs[other])
        return statistics.median(ours.cpu / theirs.cpu for ours, theirs in costs)


@dataclass(frozen=True)
class TimedCall:
    """A smolvm call, with its time in seconds."""

    name: str
    wall: float


@dataclass(frozen=True)
class Timeline:
    """The time of a step in seconds, and of the calls in it."""

    smolvm: str
    step: str
    contestant: str
    wall: float
    calls: list[TimedCall]


@dataclass(frozen=True)
class Bar:
    """A limit and the value measured."""

    what: str
    limit: str
    measured: str
    is_met: bool


@dataclass
class Measured:
    circumstances: str = ""
    comparisons: list[Comparison] = field(default_factory=list)
    timelines: list[Timeline] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def races(self) -> list[Comparison]:
        """The comparisons of the whole chain with the floor."""
        return [compared for compared in self.comparisons if "floor" in compared.costs]

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, file: Path) -> Measured:
        saved = json.loads(file.read_text())
        for compared in saved["comparisons"]:
            for name, costs in compared["costs"].items():
                compared["costs"][name] = [Cost(**cost) for cost in costs]
        for timeline in saved["timelines"]:
            timeline["calls"] = [TimedCall(**call) for call in timeline["calls"]]
        return cls(
            saved["circumstances"],
            [Comparison(**compared) for compared in saved["comparisons"]],
            [Timeline(**timeline) for timeline in saved["timelines"]],
            [Bar(**bar) for bar in saved["bars"]],
        )
