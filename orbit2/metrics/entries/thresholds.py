"""Days above or below thresholds by region, and regions of the user's own: what is asked of kept days."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Direction, Entry, Units

TITLE = "Thresholds and regions of your own"
ONLY = ("diagnose",)
WILKS = "Wilks 2011, Statistical Methods in the Atmospheric Sciences, ch. 8"
RARE = "Falls with rarer events whatever the model; compare with a baseline on the same days."


def _threshold(name: str, formula: str, source: str, units: Units, direction: Direction, trap: str) -> Entry:
    return Entry(f"threshold_{name}_{{threshold}}", formula, source, units, direction, trap, spaces=ONLY_PHYSICAL, stages=ONLY)


ENTRIES = (
    _threshold("days", "days a year (of the calendar's mean length) on which a cell is at or above, or below, the threshold, where asked "
               "in runs of at least so many days; area-weighted over cells", "orbit2", "day", "truth",
               "Of one cell in each kept block, as a mean over cells has fewer; of an ensemble's first member, for the same reason."),
    _threshold("days_bias", "those days less those of the truth", "orbit2", "day", "zero", "Right numbers on wrong days count as right."),
    _threshold("hit_rate", "a / (a + c): a both, c the truth alone, summed by area over cells and days", WILKS, "1", "higher",
               "A model that always says yes has 1: read the false alarm ratio beside it."),
    _threshold("false_alarm_ratio", "b / (a + b): b the model alone", WILKS, "1", "lower", "None where the model never says yes."),
    _threshold("csi", "a / (a + b + c), the critical success index or threat score", WILKS, "1", "higher", RARE),
    _threshold("csi_difference_vs_best_baseline", "csi less that of the baseline with the highest there", WILKS, "1", "higher",
               "The best baseline was chosen on the same days: errs against the model."),
    Entry("daily_mean_rmse", "root of the mean over days of (p - o)^2, p and o area-weighted means of the region", "orbit2", "field",
          "lower", "Errors inside the region cancel: what a budget of the region feels, not a place in it.", spaces=ONLY_PHYSICAL,
          stages=ONLY),
    Entry("daily_mean_r", "Pearson r over days of those means", "orbit2", "1", "higher", "The seasons are in it: over a year it is high.",
          spaces=ONLY_PHYSICAL, stages=ONLY),
)  # fmt: skip
