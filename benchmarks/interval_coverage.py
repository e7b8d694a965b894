"""How often a 95 % interval of a score holds the true score, where the days' errors hang together.

    .venv/bin/python benchmarks/interval_coverage.py [--quick]   # 4 minutes of one core

Truth and errors of two models are first-order autoregressions (coefficient phi from day to day) at eight places, drawn again and again;
errors of the models correlate by 0.7 and are equally large, so that their difference of RMSE is truly 0. Intervals as `orbit2 evaluate`
makes them (orbit2/metrics/bootstrap.py), 1,000 draws, of RMSE, bias, correlation and the difference of RMSE. Beside them: the plain
percentile interval of the difference, with blocks of the same length, and how often the Diebold-Mariano test wrongly finds a difference
at 5 %. A single value a day is the hardest case: `bias_of_one_place` and `rmse_of_one_place`.

Exits 1 unless every interval holds the truth in 90 to 98 of 100 records of 90, 365 and 3650 days and phi from 0 to 0.9, and a record of
59 days has none. Writes benchmarks/results/interval_coverage.json (not with --quick).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from orbit2.files import write_json
from orbit2.metrics import bootstrap as intervals
from orbit2.metrics import deterministic
from orbit2.metrics.bootstrap import LEAST_DAYS, DailySums, bootstrap
from orbit2.metrics.significance import diebold_mariano
from orbit2.metrics.statistics import Moments
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
DAYS, PHI, PLACES, ALIKE = (LEAST_DAYS, 90, 365, 3650), (0.0, 0.3, 0.6, 0.9), 8, 0.7
RECORDS = {LEAST_DAYS: 1000, 90: 1000, 365: 1000, 3650: 500}
DRAWS, TESTS = 1000, 250
HELD = (90.0, 98.0)
TRUE = {"rmse": 1.0, "bias": 0.0, "pearson_r": np.sqrt(0.5), "rmse_difference": 0.0}
SCORES = {
    "rmse": lambda m: deterministic.rmse(m["a"]), "bias": lambda m: deterministic.bias(m["a"]),
    "pearson_r": lambda m: deterministic.pearson_r(m["a"]),
    "rmse_difference": lambda m: deterministic.rmse(m["a"]) - deterministic.rmse(m["b"]),
}  # fmt: skip


def autoregression(generator: np.random.Generator, days: int, records: int, phi: float, places: int = PLACES) -> np.ndarray:
    """[days, records, places] of variance 1, stationary."""
    noise = generator.standard_normal((days + 200, records, places))
    return np.asarray(lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[200:])


def daily(error: np.ndarray, truth: np.ndarray) -> Moments:
    """Moments [days, records] of prediction = truth + error at places of equal weight."""
    count = np.full(truth.shape[:2], float(truth.shape[2]))
    p, o = error + truth, truth
    dp, do = p - p.mean(-1, keepdims=True), o - o.mean(-1, keepdims=True)
    return Moments(count, count, p.mean(-1), o.mean(-1), (dp * dp).sum(-1), (do * do).sum(-1), (dp * do).sum(-1), (error**2).sum(-1),
                   np.abs(error).sum(-1))  # fmt: skip


def measure(days: int, phi: float, records: int, draws: int, tests: int = TESTS, seed: int = 15) -> dict[str, Any]:
    """Per cent of records whose interval holds the truth, and per cent in which a test finds a difference that is not there."""
    generator = np.random.default_rng((seed, days, round(100 * phi)))
    truth, first, other = (autoregression(generator, days, records, phi) for _ in range(3))
    errors = {"a": first, "b": ALIKE * first + np.sqrt(1 - ALIKE**2) * other}
    moments = {name: daily(error, truth) for name, error in errors.items()}
    found = bootstrap({name: DailySums.of(m) for name, m in moments.items()}, SCORES, draws, positive=("rmse",))
    row: dict[str, Any] = {"days": days, "phi": phi, "records": records, "block": float(found["rmse_difference"].block.mean())}
    row |= {name: _held(one, TRUE[name]) for name, one in found.items()}
    alone = bootstrap({"a": DailySums.of(daily(first[..., :1], truth[..., :1]))},
                      {name: SCORES[name] for name in ("rmse", "bias")}, draws, positive=("rmse",))  # fmt: skip
    row |= {f"{name}_of_one_place": _held(one, TRUE[name]) for name, one in alone.items()}
    widths = intervals.widening
    try:
        intervals.widening = lambda series, block: 1.0
        plain = bootstrap({name: DailySums.of(m) for name, m in moments.items()}, {"d": SCORES["rmse_difference"]}, draws)["d"]
    finally:
        intervals.widening = widths
    loss = (moments["a"].se - moments["b"].se) / moments["a"].w
    p = np.array([diebold_mariano(loss[:, r]) for r in range(min(records, tests))])
    false = {"diebold_mariano_false": 100 * float((p < 0.05).mean())} if len(p) else {}
    return row | {"rmse_difference_unwidened": _held(plain, 0.0)} | false


def _held(one: intervals.Interval, truth: float) -> float:
    return 100 * float(((one.low <= truth) & (truth <= one.high)).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few records: shows that it runs, judges and writes nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "interval_coverage.json")
    arguments = parser.parse_args()
    rows, draws = [], 100 if arguments.quick else DRAWS
    for days in DAYS:
        for phi in PHI:
            rows.append(measure(days, phi, 20 if arguments.quick else RECORDS[days], draws))
            names = [name for name in rows[-1] if name not in ("days", "phi", "records")]
            if len(rows) == 1:
                print(f"{'days':>5}{'phi':>5}  " + "  ".join(names))
            print(f"{days:>5}{phi:>5}  " + "  ".join(f"{rows[-1][name]:>{len(name)}.1f}" for name in names), flush=True)
    if arguments.quick:
        return 0
    short = daily(*(autoregression(np.random.default_rng(0), LEAST_DAYS - 1, 1, 0.0) for _ in range(2)))
    said = bool(np.isnan(bootstrap({"a": DailySums.of(short)}, {"rmse": SCORES["rmse"]}, draws)["rmse"].low).all())
    judged = (*TRUE, "rmse_of_one_place", "bias_of_one_place")
    inside = all(HELD[0] <= row[name] <= HELD[1] for row in rows if row["days"] > LEAST_DAYS for name in judged)
    print(f"90 to 98 of 100 in every case: {inside}; a record of {LEAST_DAYS - 1} days has no interval: {said}")
    write_json(arguments.out, {"least_days": LEAST_DAYS, "draws": draws, "held": HELD, "inside": inside, "short_has_none": said,
                               "rows": rows, "code_version": code_version()})  # fmt: skip
    return int(not (inside and said))


if __name__ == "__main__":
    sys.exit(main())
