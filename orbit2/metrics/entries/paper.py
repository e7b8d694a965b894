"""ORBIT-2's own conventions, protocol `orbit2_paper`: for comparison with its Table IV and nothing else."""

from orbit2.metrics.entries.entry import Entry

TITLE = "Protocol `orbit2_paper`"
SOURCE = "ORBIT-2 (arXiv 2505.04802), Table IV, as its public evaluation code computes it"
ENTRIES = (
    Entry("paper_pearson_r", "unweighted Pearson r of each sample, mean over samples", SOURCE, "1", "higher",
          "What Table IV calls R². It is neither `pearson_r2` nor `r2_cod`."),
    Entry("paper_rmse", "mean over samples of sqrt(mean over all cells of cos φ (p−o)²)", SOURCE, "field", "lower",
          "The weights are not divided by their mean: too low by sqrt(mean cos φ), 12 % over the US, 20 % on the globe. Rain below "
          "0.25 mm/day, and where it is missing, counts as 0 in either field. Two of the reference scripts put the truth into the "
          "prediction over sea before they score; that is never done here."),
    Entry("paper_rmse_above_{q}", "mean over samples of the unweighted RMSE over cells with o at or above the sample's quantile q of "
          "all cells; q = 0.6827, 0.9545, 0.9973, 0.9999", SOURCE, "field", "lower", "Where more than 68.27 % of the cells are dry, "
          "the threshold of \"σ1\" is 0 and the column is the unweighted RMSE of all cells."),
    Entry("paper_ssim", "mean over samples of SSIM with a uniform window of 7 × 7, images scaled by the sample's own range over p "
          "and o (in 256 steps; rain in mm/day without)", SOURCE, "1", "higher", "The range of each sample decides: dry samples "
          "score near 1, and rain in mm far above its logarithm. A field with gaps is scored as a row of its known cells (1-D "
          "windows), as the reference does for regions."),
    Entry("paper_psnr", "mean over samples of 10 log10(1 / MSE) of the same scaled images", SOURCE, "dB", "higher",
          "41.8 dB in mm/day and 29 dB in ln(1 + mm/day) can be the same fields."),
)  # fmt: skip
