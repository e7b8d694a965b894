"""Errors and agreement of whole fields, their skill, and how much was scored."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Errors of fields"
STAGES = ("evaluate", "diagnose")
TAYLOR = "Taylor 2001, J. Geophys. Res. 106:7183"
WILKS = "Wilks 2011, Statistical Methods in the Atmospheric Sciences, ch. 8"
BLOCKS = "paired circular block bootstrap of days: Politis and White 2004; widened for finite blocks, Kiefer and Vogelsang 2005"
MURPHY = "Murphy 1988, Mon. Wea. Rev. 116:2417 (here of the RMSE, not the MSE)"
ENTRIES = (
    Entry("rmse", "sqrt(Σw(p−o)² / Σw), pooled over samples and cells", WILKS, "field", "lower",
          "The mean over time is taken before the root (WeatherBench 2); the mean of daily roots is another number, never above it. In "
          "ln(1 + mm/day) it has no unit: \"mm/day in log space\" is a misnomer.", stages=STAGES),
    Entry("rmse_mean_of_daily", "mean over samples of sqrt(Σw(p−o)² / Σw)", "Nguyen et al. 2023, ClimateLearn (arXiv 2307.01909)", "field",
          "lower", "At or below `rmse` (Jensen): compare it only with numbers made in the same order."),
    Entry("mae", "Σw|p−o| / Σw, pooled", WILKS, "field", "lower",
          "The median minimises it: for rain a field that is too dry can have the lowest.", stages=STAGES),
    Entry("bias", "Σw(p−o) / Σw, pooled", WILKS, "field", "zero",
          "Positive: too much. ClimateLearn's `mean_bias` has the other sign. In ln(1 + mm/day) it says little about the amount of rain: "
          "read the row in mm/day.", stages=STAGES),
    Entry("pearson_r", "Σw(p−p̄)(o−ō) / sqrt(Σw(p−p̄)² Σw(o−ō)²), pooled over samples and cells", WILKS, "1", "higher",
          "Blind to bias and amplitude. Pooled over the globe it is mostly the contrast of pole and tropics.", stages=STAGES),
    Entry("pearson_r2", "pearson_r²", WILKS, "1", "higher",
          "Not the coefficient of determination; what ORBIT-2 prints as \"R²\" is, on all evidence, the mean of daily `pearson_r`."),
    Entry("r2_cod", "1 − Σw(p−o)² / Σw(o−ō)², pooled", "Nash and Sutcliffe 1970, J. Hydrol. 10:282", "1", "higher",
          "Can be negative; equal to `pearson_r2` only for an unbiased prediction of the right amplitude."),
    Entry("sigma_ratio", "standard deviation of p over that of o, pooled over samples and cells", TAYLOR, "1", "one",
          "Below 1: too smooth, or too little variation in time: which, the pooled number does not say."),
    Entry("taylor_s1", "4 (1 + R) / ((s + 1/s)² 2); R is `pearson_r`, s `sigma_ratio`", f"{TAYLOR}, eq. 4", "1",
          "higher", "R0 = 1; mild about correlation: R = 0 still has 0.5."),
    Entry("taylor_s2", "4 (1 + R)⁴ / ((s + 1/s)² 16)", f"{TAYLOR}, eq. 5", "1", "higher",
          "R0 = 1; bias does not count, as in all of Taylor's diagram."),
    Entry("kge", "1 − sqrt((r−1)² + (β−1)² + (γ−1)²), β = p̄/ō, γ = (σp/p̄) / (σo/ō), pooled", "Kling et al. 2012, J. Hydrol. 424:264",
          "1", "higher", "Only for what cannot be negative. In kelvin β and γ are near 1 whatever the error: r decides."),
    Entry("acc", "mean over samples of the area-weighted correlation of p−c and o−c less their means; c is the training block's fine "
          "monthly climatology, linear in time", "WMO-No. 485, appendix II-9; ECMWF", "1", "higher",
          "With a coarse climatology mountains would count as skill. ClimateLearn takes off unweighted means of a batch.",
          spaces=ONLY_PHYSICAL),
    Entry("rmse_skill_vs_{baseline}", "1 − rmse / rmse of the baseline (or of the model it was fine-tuned from)", MURPHY, "1", "higher",
          "Above 0 only means better than this one."),
    Entry("mae_skill_vs_{baseline}", "1 − mae / mae of the baseline (or of the model it was fine-tuned from)", MURPHY, "1", "higher",
          "Above 0 only means better than this one."),
    Entry("rmse_skill_vs_best_baseline", "1 − rmse / rmse of the baseline with the lowest, named in `method`", MURPHY, "1", "higher",
          "The best is found on the same samples, for each variable, space and region anew.", stages=STAGES),
    Entry("mae_skill_vs_best_baseline", "1 − mae / mae of the baseline with the lowest, named in `method`", MURPHY, "1", "higher",
          "The baseline with the lowest MAE need not be that with the lowest RMSE."),
    Entry("rmse_difference_vs_{baseline}", "rmse − rmse of the baseline (or of the model it was fine-tuned from), on the same samples",
          BLOCKS, "field", "lower", "Below 0 the model is better. Its interval is narrower than those of the two numbers suggest: both err "
          "on the same days, and the same days are drawn for both."),
    Entry("rmse_beside_{dataset}", "rmse of the model on the cells and times on which another observational product (the row of the model "
          "`obs:{dataset}`) is scored against the truth", WILKS, "field", "lower",
          "Below the product's own `rmse` the model is nearer to the truth than another observation is: it has learned this product. "
          "Products that share gauges, or days that begin at other hours, agree better or worse than their errors say."),
    Entry("rmse_difference_vs_best_baseline", "rmse − rmse of the baseline with the lowest, named in `method`", BLOCKS, "field", "lower",
          "The model is better beyond chance where `ci_high` is below 0. The baseline was chosen for its RMSE on these very samples, which "
          "makes it look a little better than it is.", stages=STAGES),
    Entry("rmse_p_vs_best_baseline", "two-sided p-value of rmse_difference_vs_best_baseline = 0, from its interval", BLOCKS, "1", "none",
          "One of many regions: of 58 without any difference about three are below 0.05.", stages=("diagnose",)),
    Entry("rmse_marked_vs_best_baseline", "1 where the difference stands when at most a tenth of a table's marks may be chance, else 0",
          "Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289; Wilks 2016, BAMS 97:2263", "1", "none",
          "Not marked does not mean equal: the record may be too short to tell.", stages=("diagnose",)),
    Entry("diebold_mariano_p_vs_{baseline}", "two-sided p-value of equal mean daily MSE",
          "Diebold and Mariano 1995, J. Bus. Econ. Stat. 13:253; variance of Hering and Genton 2011, Technometrics 53:414", "1", "none",
          "Finds differences too often in short records of lasting errors (one in five at 60 days with 0.9 from day to day, "
          "benchmarks/interval_coverage.py): the interval of rmse_difference is the safer judge."),
    Entry("interval_block_days", "length of the blocks that the interval of `rmse` is drawn from",
          "Politis and White 2004, Econometric Reviews 23:53, corrected by Patton et al. 2009", "day", "none",
          "Long blocks mean errors that last: a record of many days then holds few independent ones."),
    Entry("valid_fraction", "cells scored / all cells, by number", "orbit2", "1", "none",
          "Everything that is compared is scored on the same cells: one model that misses a cell takes it from all."),
    Entry("n_samples", "times scored", "orbit2", "count", "none", spaces=ONLY_PHYSICAL),
)  # fmt: skip
