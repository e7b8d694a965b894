"""One metric of the tables in words. Never computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Direction = Literal["higher", "lower", "zero", "one", "truth", "none"]
Units = Literal["field", "field^2", "1", "dB", "km", "km2", "mm", "mm/day", "day", "K", "count", "pentad", "degree", "m/s"]
DIRECTIONS: dict[str, str] = {
    "higher": "higher is better", "lower": "lower is better", "zero": "nearer to 0 is better", "one": "nearer to 1 is better",
    "truth": "nearer to the row of the model `(truth)` is better", "none": "neither: describes what was scored",
}  # fmt: skip
PLACES = {  # what may stand in a name between braces, as a pattern
    "baseline": r"[^ ]+", "direction": r"meridians|parallels|wrap", "diagram": r"longitude|latitude", "q": r"0\.\d+",
    "mm": r"\d+(?:\.\d+)?",
    "scale": r"\d+(?:\.\d+)?(?:px|km)", "years": r"\d+", "rank": r"\d+", "dataset": r"[A-Za-z0-9_\-]+", "lag": r"\d+",
    "metric": r"[a-z0-9_]+?", "threshold": r"[a-z0-9][a-z0-9_]*",
    "which": r"(?:|mean_|wang_|bombardi_|truths_mean_|first_|second_|truths_mean_first_|truths_mean_second_)",
    "event": r"onset|withdrawal|duration",
    "index": r"(?:relative_entropy|dsi|centroid|spread|walsh_lawler)(?:_climatological)?", "days": r"5|10",
    "axis": r"longitude|latitude", "power": r"1e-?\d", "waves": r"\d+_to_\d+",
    "kind": r"heaviest_rain|hottest|coldest|strongest_wind|lowest_pressure",
    "column": r"onset|withdrawal|seasonality|entropy|hovmoller",
}  # fmt: skip
BOTH = ("physical", "log1p")
ONLY_PHYSICAL = ("physical",)


@dataclass(frozen=True)
class Entry:
    """A metric, or a family of them: `name` may hold places of PLACES in braces (`quantile_{q}`).

    `formula`: p prediction, o truth, w cell areas, overbars weighted means. `source`: the paper or definition it follows. `units`:
    "field" are those of the scored field (in ln(1 + mm/day): 1), "field^2" their square. `direction`: of DIRECTIONS. `spaces`: those it
    has rows in. `trap`: what is easily read wrongly, or computed otherwise by others; may be empty. `stages`: whose table holds it.
    """

    name: str
    formula: str
    source: str
    units: Units
    direction: Direction
    trap: str = ""
    spaces: tuple[str, ...] = BOTH
    stages: tuple[str, ...] = ("evaluate",)

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction) or self.units not in get_args(Units):
            raise ValueError(f"{self.name}: direction {self.direction!r}, units {self.units!r}")
