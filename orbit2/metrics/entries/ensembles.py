"""Scores of a prediction that has members."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Ensembles"
FERRO = "Ferro 2014, Q. J. R. Meteorol. Soc. 140:1917"
FORTIN = "Fortin et al. 2014, J. Hydrometeorol. 15:1708"
GNEITING = "Gneiting and Raftery 2007, J. Am. Stat. Assoc. 102:359"
MURPHY = "Murphy 1973, J. Appl. Meteorol. 12:595"
RANKS = ("A truth equal to k members is shared by k + 1 ranks, the mean of ranks drawn at random; rain below 0.1 mm/day is equal, and "
         "cells where the truth and all members are so dry are left out.")
EVENT = "at least so many mm/day, or `q0.99` the training years' 99 % quantile of all cells"
PLACES = ("{mm}", "q{q}")
BOTH_STAGES = ("evaluate", "diagnose")
TOGETHER = (
    ("differences", "differences of neighbouring cells, east and north", "Lang et al. 2025, arXiv:2506.10868",
     "Of fields that are right cell by cell and unlike the truth from cell to cell, it is high."),
    ("2x2", "means of 2 x 2 cells", "orbit2", "Members whose noise does not average out as the truth's does are punished."),
)  # fmt: skip
ENTRIES = (
    Entry("members", "members of the ensemble", "orbit2", "count", "none", spaces=ONLY_PHYSICAL),
    Entry("crps_fair", "mean |x_i − o| less half the mean |x_i − x_j| over pairs of different members", FERRO, "field", "lower",
          "Does not depend on the number of members; comparable with the MAE of one field.", stages=BOTH_STAGES),
    Entry("crps_ecdf", "the same over all M² pairs", GNEITING, "field", "lower",
          "Depends on the number of members; of one member it is the MAE."),
    Entry("ensemble_spread", "square root of the mean unbiased variance of members", FORTIN, "field", "none"),
    Entry("ensemble_mean_rmse", "RMSE of the mean of members", FORTIN, "field", "lower",
          "In ln(1 + mm) it is of the mean of logarithms, not of the logarithm of the mean as `rmse` is."),
    Entry("spread_skill", "sqrt((M + 1) / M) ensemble_spread / ensemble_mean_rmse, means inside the roots", FORTIN, "1", "one",
          "Without (M + 1) / M a perfect ensemble of 10 has 0.95.", stages=BOTH_STAGES),
    Entry("rank_share_{rank}", "share of the area where as many members are below the truth", "Hamill 2001, Mon. Weather Rev. 129:550",
          "1", "none", RANKS),
    Entry("rank_deviation", "sum over ranks of |share − 1 / (M + 1)|", "Delle Monache et al. 2006, J. Geophys. Res. 111:D24307", "1",
          "lower", RANKS),
    Entry("rank_outliers", "share of the truth beyond all members times (M + 1) / 2", "orbit2", "1", "one", RANKS, stages=BOTH_STAGES),
    Entry("rank_outliers_all", "the same over all cells: where the truth and all members are dry any rank is as likely", "orbit2", "1",
          "one", "What ranks with ties drawn at random give on average."),
    Entry("crps_ratio_vs_{baseline}", "crps_fair over the MAE of one field, of the task's `reference` or of the model that its model was "
          "fine-tuned from", GNEITING, "1", "lower", "0.707 where errors are normal, 0.75 where they are Laplace's, if the median is as "
          "good as the field; read off members, not off quantiles.", stages=BOTH_STAGES),
    *(Entry(f"crps_{name}", f"crps_fair of {words}", source, "field", "lower", trap)
      for name, words, source, trap in TOGETHER),
    *(Entry(f"mae_{name}", f"mean absolute error of {words}, of what is one field", "orbit2", "field", "lower",
            "Beside crps_" + name + "; rows only where a task has members.") for name, words, *_ in TOGETHER),
    *(Entry(f"mean_mae_{name}", "the same of the mean of members", "orbit2", "field", "lower") for name, *_ in TOGETHER),
    *(Entry(f"crps_{name}_ratio_vs_{{baseline}}", f"crps_{name} over mae_{name} of one field", "orbit2", "1", "lower")
      for name, *_ in TOGETHER),
    Entry("power_ratio_{waves}_cells", "power along rows of waves of so many cells over the truth's, of one member or of one field",
          "orbit2", "1", "one", "Of rows as the grid has them: on the globe a cell is shorter near the poles."),
    Entry("mean_power_ratio_{waves}_cells", "the same of the mean of members", "orbit2", "1", "none",
          "Below 1 in a good ensemble: a mean is smoother than what it is the mean of."),
    Entry("block_edge_ratio", "mean |difference of neighbours| across edges of input cells over that inside them", "orbit2", "1", "truth",
          "Above the truth's row the input's cells show through."),
    Entry("mean_block_edge_ratio", "the same of the mean of members", "orbit2", "1", "truth"),
    Entry("block_variance_{rank}", "variance of members so many cells from the edge of their input cell over that of all cells", "orbit2",
          "1", "none", "To be read beside `block_error`: both are alike where the spread tells the error at every place of the block."),
    Entry("block_error_{rank}", "squared error of the mean of members at the same place over that of all cells", "orbit2", "1", "none"),
    Entry("area_mean_range", "highest less lowest of the members' means over the area, mean over samples", "orbit2", "field", "none",
          "Members that keep the means of their input's cells have hardly any.", spaces=ONLY_PHYSICAL, stages=BOTH_STAGES),
    Entry("area_mean_inside", "share of samples whose mean of the truth over the area lies between those", "orbit2", "1", "none",
          "(M − 1) / (M + 1) of a calibrated ensemble.", spaces=ONLY_PHYSICAL, stages=BOTH_STAGES),
    Entry("energy_score", "mean ||x_i − o|| less half the mean ||x_i − x_j|| over pairs of different members, of vectors of 16 x 16 cells",
          f"{GNEITING}, eq. 22", "field", "lower", "At most 64 complete tiles a sample; `akr` of scoringrules is another estimator."),
    Entry("variogram_score", "mean over pairs of a tile's cells of (|o_a − o_b|^0.5 − mean over members |x_a − x_b|^0.5)²",
          "Scheuerer and Hamill 2015, Mon. Weather Rev. 143:1321", "field", "lower",
          "Unweighted; over the number of pairs, by which scoringrules does not divide."),
    *(Entry(f"brier_{place}", f"mean (share of members with the event − event)²; event: {EVENT}", "Brier 1950, Mon. Weather Rev. 78:1",
            "1", "lower", spaces=ONLY_PHYSICAL, stages=BOTH_STAGES) for place in PLACES),
    *(Entry(f"brier_fair_{place}", "brier less k (M − k) / (M² (M − 1)), k members with the event", FERRO, "1", "lower",
            spaces=ONLY_PHYSICAL, stages=BOTH_STAGES) for place in PLACES),
    *(Entry(f"brier_skill_{place}", "1 − brier / (b (1 − b)), b the event's frequency in the truth", MURPHY, "1", "higher",
            "Against the scored period's own frequency: harder to beat than a past climate's.", spaces=ONLY_PHYSICAL, stages=BOTH_STAGES)
      for place in PLACES),
    *(Entry(f"reliability_{place}", "mean (share of members with the event − frequency of the event at that share)²", MURPHY, "1",
            "lower", spaces=ONLY_PHYSICAL, stages=BOTH_STAGES) for place in PLACES),
    *(Entry(f"event_samples_{place}", "samples in which the event came in the truth somewhere in the region", "orbit2", "count", "none",
            "Below 10, or below 100 cells of all samples, no score of the region's probabilities is given.", spaces=ONLY_PHYSICAL,
            stages=("diagnose",)) for place in PLACES),
    *(Entry(f"reliability_frequency_{place}_{{rank}}", "frequency of the event in the truth where so many members have it", MURPHY, "1",
            "none", "Reliable where it is the share of members; few cells where `reliability_area` is small.", spaces=ONLY_PHYSICAL)
      for place in PLACES),
    *(Entry(f"reliability_area_{place}_{{rank}}", "share of the area where so many members have the event", MURPHY, "1", "none",
            "High at both ends: sharp.", spaces=ONLY_PHYSICAL) for place in PLACES),
    Entry("binned_spread_{rank}", "sqrt((M + 1) / M mean variance of members) of cells in groups by that variance, lowest first", FORTIN,
          "field", "none", "Groups are about a tenth of the area each; fewer where many cells have no spread (dry in all members)."),
    Entry("binned_error_{rank}", "RMSE of the mean of members in the same group", FORTIN, "field", "none",
          "Equal to `binned_spread` in every group of a perfect ensemble."),
)  # fmt: skip
