"""How well two maps agree, of dates or of an index: bias, errors, hits, pattern. Never weighs cells alike unless told to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.climate import circular

Array = npt.NDArray[np.float64]
HITS = (5, 10)  # days
MOST = 0.9  # of the cells and years, for `within`


@dataclass(frozen=True)
class Pattern:
    """Of two maps: area-weighted `bias`, `rmse`, centred correlation `r`, RMSE over the truth's standard deviation `nrmse`, ratio of
    standard deviations `ratio`, cells `n`."""

    bias: float
    rmse: float
    r: float
    nrmse: float
    ratio: float
    n: int

    @property
    def taylor(self) -> float:
        """4 (1 + R) / ((s + 1/s)^2 2) (Taylor 2001, JGR 106:7183, eq. 4, R0 = 1)."""
        return float(2 * (1 + self.r) / (self.ratio + 1 / self.ratio) ** 2) if self.ratio > 0 else float("nan")

    @property
    def points(self) -> float:
        """100 max(0, r): the score of the climate matrix."""
        return 100 * max(0.0, self.r) if np.isfinite(self.r) else float("nan")


def pattern(p: npt.ArrayLike, o: npt.ArrayLike, weights: npt.ArrayLike) -> Pattern:
    """Of a map and the truth's (any shape, the same), over cells where both are known and weights are positive."""
    p, o, weights = (np.broadcast_to(np.asarray(x, dtype=np.float64), np.shape(p)) for x in (p, o, weights))
    known = np.isfinite(p) & np.isfinite(o) & (weights > 0)
    p, o, w = p[known], o[known], weights[known]
    if not len(p):
        return Pattern(*(float("nan"),) * 5, 0)
    w = w / w.sum()
    dp, do = p - w @ p, o - w @ o
    pp, oo, po = w @ dp**2, w @ do**2, w @ (dp * do)
    tiny = 1e-12 * max(1.0, float(w @ o**2))
    varies = oo > tiny
    rmse = float(np.sqrt(w @ (p - o) ** 2))
    return Pattern(
        float(w @ (p - o)), rmse, float(np.clip(po / np.sqrt(pp * oo), -1, 1)) if varies and pp > tiny else float("nan"),
        rmse / float(np.sqrt(oo)) if varies else float("nan"), float(np.sqrt(pp / oo)) if varies else float("nan"), len(p),
    )


def date_pattern(p: npt.ArrayLike, o: npt.ArrayLike, weights: npt.ArrayLike, length: int = circular.YEAR) -> Pattern:
    """`pattern` of two maps of dates (days of the year), unwrapped about the truth's circular mean."""
    p, o = (np.asarray(x, dtype=np.float64) for x in (p, o))
    w = np.where(np.isfinite(p), np.broadcast_to(np.asarray(weights, dtype=np.float64), o.shape), 0.0)
    middle = circular.mean(o, w, length=length)
    there = circular.difference(o, middle, length)
    return pattern(there + circular.difference(p, o, length), there, w)


@dataclass(frozen=True)
class Dates:
    """Of dates of cells and years: `bias` and `mae` in days, share of `hits` within each of HITS days, `within`: days that hold nine tenths
    of the errors, `phase`: mean of (1 + cos(2 pi error / year)) / 2, `missed`: share of the truth's seasons that the other does not have;
    `n` dates compared."""

    bias: float
    mae: float
    hits: tuple[float, ...]
    within: float
    phase: float
    missed: float
    n: int


def dates(p: npt.ArrayLike, o: npt.ArrayLike, weights: npt.ArrayLike, length: int = circular.YEAR) -> Dates:
    """Of days of the year and the truth's [..., cells], weights [cells] (or of their shape)."""
    p, o = (np.asarray(x, dtype=np.float64) for x in (p, o))
    w = np.where(np.isfinite(o), np.broadcast_to(np.asarray(weights, dtype=np.float64), o.shape), 0.0)
    seasons, error = w.sum(), circular.difference(p, o, length)
    known = np.isfinite(error) & (w > 0)
    missed = float((w * ~np.isfinite(p)).sum() / seasons) if seasons > 0 else float("nan")
    if not known.any():
        return Dates(float("nan"), float("nan"), (float("nan"),) * len(HITS), float("nan"), float("nan"), missed, 0)
    e, w = error[known], w[known] / w[known].sum()
    size = np.abs(e)
    order = np.argsort(size)
    reached = np.minimum(np.searchsorted(np.cumsum(w[order]), MOST - 1e-12), len(e) - 1)
    return Dates(
        float(w @ e), float(w @ size), tuple(float(w @ (size <= days)) for days in HITS), float(size[order][reached]),
        float(w @ (0.5 * (1 + np.cos(2 * np.pi * e / length)))), missed, len(e),
    )


def threat(p: npt.ArrayLike, o: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """Area of hits over that of hits, misses and false alarms (Wang et al. 2011); NaN where neither has any."""
    p, o, w = np.asarray(p, dtype=np.bool_), np.asarray(o, dtype=np.bool_), np.asarray(weights, dtype=np.float64)
    union = (w * (p | o)).sum()
    return float((w * (p & o)).sum() / union) if union > 0 else float("nan")
