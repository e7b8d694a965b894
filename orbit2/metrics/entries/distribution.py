"""What values fields take, whatever their place."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Distributions"
ENTRIES = (
    Entry("quantile_{q}", "value below which the share q of the area lies, over all scored cells and samples", "orbit2", "field", "truth",
          "Pooled over places: the right quantile in the wrong place counts as right. From 65,536 bins (0.003 K).", spaces=ONLY_PHYSICAL),
    Entry("wet_share_{mm}", "share of the area with at least so many mm/day, mean over samples", "ETCCDI's wet day is 1 mm", "1", "truth",
          "Interpolation drizzles: it makes wet what is a dry edge.", spaces=ONLY_PHYSICAL),
)  # fmt: skip
