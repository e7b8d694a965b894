"""The long table of scores: its columns, rows, checks and files. Every printed number of a report comes from one of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from orbit2.errors import OrbitError
from orbit2.files import atomic
from orbit2.variables import ATTRIBUTE, adopt, carried_text

TEXT = ("task", "model", "dataset", "variable", "space", "region", "season", "metric", "protocol", "method")
COLUMNS = (*TEXT, "value", "ci_low", "ci_high", "n", "reference", "date_range", "code_version")
TYPES: dict[str, Any] = {**dict.fromkeys(COLUMNS, "str"), **dict.fromkeys(("value", "ci_low", "ci_high"), "float64"), "n": "int64"}
MEANING = {  # of every column, for docs/metrics.md
    "task": "the downscale task, or a name given to `orbit2 evaluate A B`",
    "model": "the model, a baseline, `(truth)` for what describes the truth itself, `(any)` where the row is about none of them",
    "dataset": "the data set that the task's input comes from",
    "variable": "canonical name; `(any)` where the row is about none",
    "space": "`physical` (the variable's units) or `log1p` (ln(1 + mm/day))",
    "region": "`global`, `domain` (the task's box), a latitude band, a box of the spectra, "
              "the abbreviation of an AR6 region, or `<set>:<name>` of one's own",
    "season": "`all`, or `DJF`, `MAM`, `JJA`, `SON`",
    "metric": "a name of this page",
    "protocol": "`standard`, or `orbit2_paper`: other definitions, never mixed",
    "method": "in words, the definition that this very number follows (data range, baseline compared with, tiles ...)",
    "value": "the score; NaN where it is not defined",
    "ci_low": "lower 95 % limit; NaN without an interval",
    "ci_high": "upper 95 % limit; NaN without an interval",
    "n": "how many cells times samples (or values) it rests on",
    "reference": "what is taken as truth",
    "date_range": "first and last time scored, `first/last`",
    "code_version": "version of orbit2 that computed it",
}
KEY = (*TEXT, "reference", "date_range")
SPACES = ("physical", "log1p")
ANY = "(any)"  # a row that does not depend on the variable or the model, e.g. the area of a region
TRUTH = "(truth)"  # the model of a row that says what the truth is; in brackets: it is no baseline


@dataclass
class Table:
    """Rows of one task; the constructor's values are common to all of them."""

    task: str
    dataset: str
    protocol: str
    reference: str
    date_range: str
    code_version: str
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, model: str, variable: str, space: str, region: str, metric: str, method: str, value: float, *,
        n: int = 0, ci: tuple[float, float] | None = None, season: str = "all",
    ) -> None:
        """Append one score; `n` counts the cells and samples (or values) it rests on, `ci` is a 95 % interval."""
        common = {name: getattr(self, name) for name in ("task", "dataset", "protocol", "reference", "date_range", "code_version")}
        low, high = ci if ci is not None else (float("nan"), float("nan"))
        self.rows.append({
            **common, "model": model, "variable": variable, "space": space, "region": region, "season": season, "metric": metric,
            "method": method, "value": float(value), "ci_low": float(low), "ci_high": float(high), "n": int(n),
        })

    def frame(self) -> pd.DataFrame:
        """The rows as a validated DataFrame."""
        return validate(pd.DataFrame(self.rows, columns=list(COLUMNS)))


def validate(frame: pd.DataFrame, where: object = "metrics table") -> pd.DataFrame:
    """Check columns, texts and uniqueness; returns the frame with columns in order. Raises OrbitError naming what is wrong."""
    missing = [name for name in COLUMNS if name not in frame.columns]
    extra = [name for name in frame.columns if name not in COLUMNS]
    if missing or extra:
        raise OrbitError("not a table of scores", where=where, got=f"missing {missing}, unknown {extra}", allowed=", ".join(COLUMNS),
                         hint="run the evaluate stage again")  # fmt: skip
    frame = frame[list(COLUMNS)]
    for name in (*TEXT, "reference", "date_range", "code_version"):
        if frame[name].isna().any() or (frame[name].astype(str) == "").any():
            raise OrbitError(f"rows without a {name}", where=where, hint="run the evaluate stage again")
    unknown = set(frame["space"]) - set(SPACES)
    if unknown:
        raise OrbitError("unknown space", where=where, got=", ".join(sorted(unknown)), allowed=", ".join(SPACES),
                         hint="run the evaluate stage again")  # fmt: skip
    repeated = frame.duplicated(subset=list(KEY))
    if repeated.any():
        first = frame[repeated].iloc[0]
        raise OrbitError("the same score appears twice", where=where, got=", ".join(str(first[name]) for name in TEXT),
                         hint="merge each part once")  # fmt: skip
    return frame.astype(TYPES)


def write(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a validated table as Parquet, whole or not at all."""
    checked = validate(frame, path)
    checked.attrs.update(carried_text(checked["variable"].unique()))  # into the file's metadata
    with atomic(path) as temporary:
        checked.to_parquet(temporary, engine="pyarrow", index=False)


def read(path: str | Path) -> pd.DataFrame:
    """Read and validate a table; variables that it declares are known to the process afterwards. Raises OrbitError when it is missing or
    not one."""
    path = Path(path)
    if not path.is_file():
        raise OrbitError("table of scores not found", where=path, hint="run the evaluate or diagnose stage first")
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise OrbitError(f"not a Parquet file ({reason})", where=path, hint="delete it and re-run its stage") from None
    adopt(frame.attrs.get(ATTRIBUTE), (), path)
    return validate(frame, path)


def merge(tables: Sequence[str | Path], out: str | Path) -> None:
    """Concatenate tables into one. Raises OrbitError when two of them hold the same score."""
    if not tables:
        raise OrbitError("no tables to merge", where=out, hint="run the evaluate stage of at least one task")
    write(concatenate([read(path) for path in tables]), out)


def concatenate(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table from several, rows in the given order."""
    return pd.concat(list(frames), ignore_index=True)
