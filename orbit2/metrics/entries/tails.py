"""Errors of what is rare, in three meanings, and fractions and objects of rain."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Tails and places of rain"
DILEMMA = ("It looks only where the truth is high, and so rewards too much everywhere (Lerch et al. 2017, Stat. Sci. 32:106): read it "
           "beside `rmse_predicted_above_clim_{q}` and `tail_rmse_clim_{q}`.")
ROBERTS = "Roberts and Lean 2008, Mon. Wea. Rev. 136:78"
WERNLI = "Wernli et al. 2008, Mon. Wea. Rev. 136:4470; threshold of Wernli et al. 2009, Wea. Forecasting 24:1472"
ENTRIES = (
    Entry("rmse_above_{q}", "mean over samples of sqrt(Σw(p−o)² / Σw) over cells with o at or above the sample's quantile q by area; "
          "where that is dry, over the wet cells; q = 0.6827, 0.9545, 0.9973, 0.9999", "orbit2, after ORBIT-2 (arXiv 2505.04802), "
          "Table IV", "field", "lower", DILEMMA + " `n` counts the cells."),
    Entry("rmse_above_wet_{q}", "`rmse_above_{q}` with quantiles of the cells with at least 0.25 mm/day", "orbit2", "field", "lower",
          DILEMMA),
    Entry("rmse_above_clim_{q}", "sqrt(Σw(p−o)² / Σw) over cells with o at or above the training block's quantile q of all cells and "
          "samples, pooled", "orbit2", "field", "lower",
          DILEMMA + " One threshold for the whole domain: mostly its warmest or wettest part; `rmse_above_own_{q}` has one a cell."),
    Entry("rmse_predicted_above_clim_{q}", "the same over cells where p, not o, is at or above it", "orbit2", "field", "lower",
          "The other half of the picture: false alarms. A model that never goes so high has no row."),
    Entry("tail_rmse_clim_{q}", "sqrt of the mean over all cells of φ(o) − φ(p) − φ'(p)(o − p), φ(x) = max(x − t, 0)², t the "
          "training block's quantile q", "Taggart 2022, Quart. J. Roy. Meteor. Soc. 148:306", "field", "lower",
          "Proper: the best forecast of the mean has the best value. Small because most cells are below on both sides."),
    Entry("rmse_above_own_{q}", "sqrt(Σw(p−o)² / Σw) over cells with o at or above their own quantile q of the training block, pooled; a "
          "cell with fewer than 5 training samples beyond it has the quantile of its zone of 10° of latitude (`method` says where)",
          "orbit2", "field", "lower", DILEMMA + " Not on grids of more than 4 million cells.", spaces=ONLY_PHYSICAL),
    Entry("rmse_predicted_above_own_{q}", "the same over cells where p, not o, is at or above it", "orbit2", "field", "lower",
          "A model that never goes so high has no row.", spaces=ONLY_PHYSICAL),
    Entry("tail_rmse_own_{q}", "`tail_rmse_clim_{q}` with each cell's own quantile as t", "Taggart 2022, Quart. J. Roy. Meteor. Soc. "
          "148:306", "field", "lower", "Proper, as any weight of thresholds is that does not know the truth.", spaces=ONLY_PHYSICAL),
    Entry("quantile_rmse_{q}", "sqrt(Σw(Q_p−Q_o)² / Σw) over cells, Q the quantile q over time at a cell; q = 0.01, 0.05, 0.5, 0.95, "
          "0.99", "orbit2; as in CORDEX-ML-Bench", "field", "lower", "Blind to timing. Left out where fewer than 5 values lie beyond "
          "the quantile.", spaces=ONLY_PHYSICAL),
    Entry("quantile_bias_{q}", "Σw(Q_p−Q_o) / Σw over cells, Q the quantile q over time at a cell", "orbit2", "field", "zero",
          "Positive: too high. Errors of opposite sign cancel between places.", spaces=ONLY_PHYSICAL),
    Entry("fss_{mm}mm_{scale}", "1 − Σw(F−O)² / Σw(F²+O²), F and O the shares of cells with at least so many mm/day in windows of so "
          "many cells; sums over samples before the division", ROBERTS, "1", "higher", "A bias costs at every scale: read the "
          "quantile's rows beside it. On a grid of degrees a window is narrower towards the poles. Mean of daily scores, as ORBIT-2 "
          "has it, is another number, and none on a dry day.", spaces=ONLY_PHYSICAL),
    Entry("fss_q{q}_{scale}", "the same with each field's own quantile q of the sample as its threshold", ROBERTS, "1", "higher",
          "Free of bias: only the place counts. Samples where the quantile is dry have no event.", spaces=ONLY_PHYSICAL),
    Entry("fss_useful_km_{mm}mm", "side, north to south, of the smallest window whose FSS reaches 0.5 + f/2, f the truth's share of "
          "events", ROBERTS, "km", "lower", "Of the windows that were tried; no row where the largest is not enough.",
          spaces=ONLY_PHYSICAL),
    Entry("fss_useful_km_q{q}", "the same for events above each field's own quantile q", ROBERTS, "km", "lower",
          "Of the windows that were tried; no row where the largest is not enough.", spaces=ONLY_PHYSICAL),
    Entry("sal_structure", "2 (V_p−V_o) / (V_p+V_o), V the objects' mean volume over peak, by mass; mean over samples", WERNLI, "1",
          "zero", "Positive: objects too large or too flat. Objects depend on the threshold and on the box. Opposite signs cancel: "
          "see `sal_structure_abs`.", spaces=ONLY_PHYSICAL),
    Entry("sal_amplitude", "2 (p̄−ō) / (p̄+ō) over the box; mean over samples", WERNLI, "1", "zero",
          "2/3 is twice too much. Opposite signs cancel: see `sal_amplitude_abs`.", spaces=ONLY_PHYSICAL),
    Entry("sal_location", "distance of the centres of mass plus twice the difference of the objects' mean distance from them, over "
          "the box's diagonal; mean over samples", WERNLI, "1", "lower", "0 does not mean the same place: a rotation about the "
          "centre changes nothing.", spaces=ONLY_PHYSICAL),
    Entry("sal_structure_abs", "mean over samples of |S|", WERNLI, "1", "lower", spaces=ONLY_PHYSICAL),
    Entry("sal_amplitude_abs", "mean over samples of |A|", WERNLI, "1", "lower", spaces=ONLY_PHYSICAL),
)  # fmt: skip
