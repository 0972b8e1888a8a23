"""The metrics in plain words: how a report calls them, which way is better, what they say and where they mislead.

A metric describes what it measures beside its function, and reports, verdict and comparison read it there:

    @having(describes=(Description("gap", "Gap of means", LOWER, "How far the means are apart."),))
    def gap(candidate: Candidate, space: FeatureSpace) -> Scores: ...
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from virtassay.flow.traits import trait

HIGHER, LOWER, NEITHER = "↑", "↓", ""  # is better; NEITHER: for information


def near(value: float) -> str:
    """The direction of a metric that is best at a value."""
    return f"→ {value:g}"


@dataclass(frozen=True)
class Description:
    """A metric in words. better: HIGHER, LOWER, near(x) or NEITHER. meaning: what it says, for a biologist.

    pooled: it looks at all images together, and does not see whether their treatments are exchanged. raw: it measures
    features as they are, in the units of published figures, not in those of the controls' s.d.
    """

    name: str
    label: str
    better: str
    meaning: str
    pooled: bool = False
    raw: bool = False

    @property
    def best(self) -> float | None:
        """The value that is best, where neither the highest nor the lowest is."""
        return float(self.better.removeprefix("→")) if self.better.startswith("→") else None

    def goodness(self, value: float) -> float:
        """How good a value is, so that larger is better: v, −v or −|v − x|; NaN where none is better."""
        if self.better == NEITHER:
            return float("nan")
        if self.best is not None:
            return -abs(value - self.best)
        return value if self.better == HIGHER else -value


@dataclass(frozen=True)
class Glossary:
    """The descriptions of metrics, by name."""

    descriptions: Mapping[str, Description] = field(default_factory=dict[str, Description])

    @classmethod
    def of(cls, metrics: Iterable[object]) -> Self:
        """Gather what metrics say of themselves: the attribute `describes` of their functions."""
        described: list[Description] = [d for metric in metrics for d in trait(metric, "describes", ())]
        return cls({description.name: description for description in described})

    def __getitem__(self, name: str) -> Description:
        """Look up by name, or by what stands before a colon: relation_recall:moa is one of its kind.

        A metric that nothing describes is called by its name, and is for information.
        """
        kind, _, of = name.partition(":")
        known = self.descriptions.get(kind) or Description(kind, kind.replace("_", " "), NEITHER, "Not described.")
        return replace(known, label=f"{known.label}: {of.replace('_', '-')}") if of else known
