"""Regions and Hovmöller diagrams: what the diagnose stage adds."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry

TITLE = "Regions and diagrams"
ONLY = ("diagnose",)
SAMPLES = "Of the samples as they are, not of a climatological year; four frames of a day can hardly be wrong."
HOVMOLLER = "Hovmöller 1949, Tellus 1:62; the score is orbit2's"
ENTRIES = (
    Entry("n_cells", "cells of the region (land, sea or all, by its kind) scored in at least one sample", "orbit2", "count", "none",
          spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("scored_area_km2", "area of those cells on a sphere of 6371 km", "orbit2", "km2", "none", spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("covered_area_fraction", "area of the task's cells in the region's polygon over the polygon's area, land and sea",
          "Iturbide et al. 2020, Earth Syst. Sci. Data 12:2959", "1", "none",
          "By exact shares; on grids of more than 262,144 cells by centres.", spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("change_halves", "mean of p over the last half of the whole years less that over the first half, then over the domain", "orbit2",
          "field", "truth", "Ten years hold one change and much weather: no trend.", spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("change_halves_rmse", "RMSE over blocks of cells of the change of p from that of o", "orbit2", "field", "lower",
          "The row of nearest neighbour is the input's own change.", spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("change_halves_pearson_r", "correlation over blocks of cells of the changes of p and o", "orbit2", "1", "higher",
          "The row of nearest neighbour is the input's own change.", spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("hovmoller_{diagram}_pattern_r", "centred, area-weighted correlation of the diagrams of p and o (time and longitude: mean over a "
          "band; time and latitude: mean over longitudes)", HOVMOLLER, "1", "higher", SAMPLES,
          spaces=ONLY_PHYSICAL, stages=ONLY),
    Entry("hovmoller_{diagram}_nrmse", "RMSE of the diagrams over the standard deviation of the truth's", HOVMOLLER, "1", "lower", SAMPLES,
          spaces=ONLY_PHYSICAL, stages=ONLY),
)  # fmt: skip
