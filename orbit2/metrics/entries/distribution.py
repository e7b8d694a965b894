"""What values fields take, whatever their place."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Distributions"
ENTRIES = (
    Entry("quantile_{q}", "value below which the share q of the area lies, over all scored cells and samples", "orbit2", "field", "truth",
          "Pooled over places: the right quantile in the wrong place counts as right. From 65,536 bins (0.003 K).", spaces=ONLY_PHYSICAL),
    Entry("wet_share_{mm}", "share of the area with at least so many mm/day, mean over samples", "ETCCDI's wet day is 1 mm", "1", "truth",
          "Interpolation drizzles: it makes wet what is a dry edge.", spaces=ONLY_PHYSICAL),
    Entry("perkins", "sum over bins of the smaller of the shares of p and o; bins of 0.5 K, rain dry and 60 steps of the logarithm from "
          "0.25 to 300 mm/day, else 100 between the truth's 0.1 % and 99.9 % quantiles", "Perkins et al. 2007, J. Clim. 20:4356", "1",
          "higher",
          "Depends on the bins; pooled over places and seasons, so that both hide much.", spaces=ONLY_PHYSICAL),
    Entry("wasserstein", "integral of |F_p - F_o| over the value", "Villani 2009, Optimal Transport, chapter 6", "field", "lower",
          "Pooled over places. Known to the width of a bin of 65,536.", spaces=ONLY_PHYSICAL),
    Entry("kolmogorov_smirnov", "largest |F_p - F_o|", "Smirnov 1948, Ann. Math. Stat. 19:279", "1", "lower",
          "No test: cells are far from independent.", spaces=ONLY_PHYSICAL),
)  # fmt: skip
