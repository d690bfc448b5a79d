"""What a run of the benchmark has measured: samples by case, step, server and round, and the targets they meet or miss."""

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

Values = dict[str, Any]
DISTURBED = 0.15
"""The part of a core beyond which foreign processes spoil a measurement: it is shown, but others are judged if there are."""


class Sample(NamedTuple):
    """One measurement. `values` has numbers by name; `problem` says what went wrong with it, if anything did."""

    case: str
    step: str
    server: str
    round: int
    values: Values
    problem: str = ""

    @property
    def is_disturbed(self) -> bool:
        return (self.values.get("others") or 0.0) > DISTURBED


class Spread(NamedTuple):
    """Least, middle and greatest of several rounds."""

    least: float
    middle: float
    greatest: float
    rounds: int

    @staticmethod
    def of(values: Sequence[float]) -> "Spread | None":
        return Spread(min(values), median(values), max(values), len(values)) if values else None

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{short(self.middle)} (1 round)"
        return f"{short(self.least)} / {short(self.middle)} / {short(self.greatest)}"


class Target(NamedTuple):
    """A promise about speed: what is wanted, what was measured, and whether it holds (None: not measured)."""

    case: str
    wanted: str
    measured: str
    is_met: bool | None


class Results:
    """Samples and targets of one run. A target is judged by the median of the rounds."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.targets: list[Target] = []
        self.notes: list[str] = []

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)

    def of(self, case: str, step: str, server: str) -> list[Sample]:
        """The samples of a server in a step, by round."""
        return [s for s in self.samples if (s.case, s.step, s.server) == (case, step, server)]

    def spread(self, case: str, step: str, server: str, value: str) -> Spread | None:
        """A value's spread over the rounds that have it; disturbed ones count only where there are no others."""
        found = [s for s in self.of(case, step, server) if s.values.get(value) is not None]
        return Spread.of([s.values[value] for s in found if not s.is_disturbed] or [s.values[value] for s in found])

    def ratio(self, case: str, step: str, ours: str, theirs: str, value: str) -> Spread | None:
        """ours / theirs of a value, paired within each round; rounds in which either is missing count for nothing,
        and disturbed ones only where there are no others."""
        other = {s.round: s for s in self.of(case, step, theirs) if s.values.get(value)}
        pairs = [(s, other[s.round]) for s in self.of(case, step, ours) if s.values.get(value) and s.round in other]
        quiet = [pair for pair in pairs if not any(s.is_disturbed for s in pair)]
        return Spread.of([one.values[value] / two.values[value] for one, two in quiet or pairs])

    def steps(self) -> Iterator[tuple[str, str, str]]:
        """Every case, step and server, in the order of measuring."""
        yield from dict.fromkeys((s.case, s.step, s.server) for s in self.samples)

    def judge(
        self, case: str, wanted: str, measured: Spread | None, is_met: Callable[[float], bool], *, unit: str = ""
    ) -> None:
        """Compare a target with what was measured."""
        if measured is None:
            self.targets.append(Target(case, wanted, "not measured", None))
        else:
            self.targets.append(Target(case, wanted, f"{measured}{unit}", is_met(measured.middle)))

    def judge_all(self, case: str, wanted: str, faults: Sequence[str], count: int) -> None:
        """A target that every round must meet: it fails with the first fault."""
        if not count:
            self.targets.append(Target(case, wanted, "not measured", None))
        else:
            measured = f"{faults[0]} ({len(faults)} of {count} rounds)" if faults else f"{count} of {count} rounds"
            self.targets.append(Target(case, wanted, measured, not faults))


def at_most(limit: float) -> Callable[[float], bool]:
    """Whether a measured value is within a limit."""
    return lambda found: found <= limit


def at_least(limit: float) -> Callable[[float], bool]:
    """Whether a measured value reaches what is wanted."""
    return lambda found: found >= limit


def short(value: float) -> str:
    """Three digits that matter, and thousands by letter."""
    for factor, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g}{letter}" if abs(value) < factor * 999.5 else f"{value / factor:.0f}{letter}"
    return f"{value:.3g}"
