"""The climate matrix: nine domains by five columns, 0 to 100, and the published one beside it. Never computes a column."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

COLUMNS = {  # column -> what 100 max(0, r) is taken of
    "onset": "map of mean onset dates (cumulative anomaly)",
    "withdrawal": "map of mean withdrawal dates (cumulative anomaly)",
    "seasonality": "map of the dimensionless seasonality index (mean of years)",
    "entropy": "map of relative entropy (mean of years)",
    "hovmoller": "Hovmöller section of the climatological year (latitude and pentad)",
}


def metric(column: str) -> str:
    """The name of a column's rows in the table of diagnostics."""
    return f"climate_score_{column}"


@dataclass(frozen=True)
class Published:
    """The published matrix: `values[domain][product]` are five scores in the order of COLUMNS; of another data set than any run's."""

    source: str
    note: str
    products: tuple[str, ...]
    values: dict[str, dict[str, tuple[float, ...]]]


@cache
def published() -> Published:
    """As printed by its authors, from package data."""
    told = json.loads(resources.files("orbit2.climate").joinpath("data/published_matrix.json").read_text(encoding="utf-8"))
    assert tuple(told["columns"]) == tuple(COLUMNS)
    values = {domain: {product: tuple(row) for product, row in zip(told["products"], rows, strict=True)}
              for domain, rows in told["domains"].items()}  # fmt: skip
    return Published(told["source"], told["note"], tuple(told["products"]), values)
