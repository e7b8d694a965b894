"""Climate indices of daily samples: what a year is like in each cell."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Entry, Units
from orbit2.metrics.extremes import MEANINGS, UNITS

TITLE = "Climate indices"
ETCCDI = "ETCCDI; Zhang et al. 2011, WIREs Climate Change 2:851"
_UNITS: dict[str, Units] = {"mm": "mm", "mm day-1": "mm/day", "days": "day", "K": "K", "": "field"}
TRAPS = {
    "r95p": "Thresholds are the training years'; from the scored years' own, every product has its 5 %.",
    "rx5day": "A window belongs to the year of its last day.", "cdd": "A run ends with the year; a missing day ends it too.",
    "sdii": "Interpolation drizzles: more wet days lower it.",
}  # fmt: skip
_INDICES = tuple(
    entry for name, meaning in MEANINGS.items() if name != "annual_mean" for entry in (
        Entry(name, f"{meaning}, mean over years, then area-weighted over cells", ETCCDI, _UNITS[UNITS[name]], "truth",
              TRAPS.get(name, ""), spaces=ONLY_PHYSICAL),
        Entry(f"{name}_rmse", f"RMSE over cells of {name}'s mean over years", ETCCDI, _UNITS[UNITS[name]], "lower", spaces=ONLY_PHYSICAL),
    )
)  # fmt: skip
RETURN_BANDS: tuple[tuple[str, Units], ...] = (("rx1day", "mm"), ("txx", "K"))
ENTRIES = (
    *_INDICES,
    Entry("rx1day_return_{years}", "x_T = mu + sigma / xi ((-ln(1 - 1/T))^-xi - 1) of a GEV fitted to a cell's annual highest days by "
          "L-moments, area-weighted over cells", "Hosking, Wallis and Wood 1985, Technometrics 27:251", "mm", "truth",
          "Not told from less than 20 years, nor beyond twice the record. scipy's shape is -xi.", spaces=ONLY_PHYSICAL),
    *(Entry(f"{index}_return_{{years}}_{end}", f"the {end} of the members' levels, each followed through all years by itself", "orbit2",
            unit, "none", "At most 8 members; other years are not in it.", spaces=ONLY_PHYSICAL)
      for index, unit in RETURN_BANDS for end in ("lowest", "highest")),
    Entry("rx1day_return_{years}_rmse", "RMSE over cells of that level", "Hosking, Wallis and Wood 1985, Technometrics 27:251", "mm",
          "lower", spaces=ONLY_PHYSICAL),
    Entry("txx_return_{years}", "as `rx1day_return_{years}`, of a cell's annual highest daily maxima",
          "Hosking, Wallis and Wood 1985, Technometrics 27:251", "K", "truth", "", spaces=ONLY_PHYSICAL),
    Entry("txx_return_{years}_rmse", "RMSE over cells of that level", "Hosking, Wallis and Wood 1985, Technometrics 27:251", "K", "lower",
          spaces=ONLY_PHYSICAL),
    Entry("lag1_autocorrelation", "Pearson r of a cell's days with the days before, area-weighted over cells", "CORDEX-ML-Bench 2026", "1",
          "truth", "The seasons are in it: over a year of temperature it is near 1 for everybody.", spaces=ONLY_PHYSICAL),
    Entry("p01", "share of dry days (< 1 mm) that a wet day follows, per cell, area-weighted over cells",
          "Wilks 1999, Agr. Forest Meteorol. 93:153", "1", "truth", spaces=ONLY_PHYSICAL),
    Entry("p11", "share of wet days (>= 1 mm) that a wet day follows, per cell, area-weighted over cells",
          "Wilks 1999, Agr. Forest Meteorol. 93:153", "1", "truth", spaces=ONLY_PHYSICAL),
    Entry("interannual_sigma", "standard deviation of a cell's annual means, area-weighted over cells", "CORDEX-ML-Bench 2026", "field",
          "truth", "Not told from less than 10 years.", spaces=ONLY_PHYSICAL),
    *(Entry(f"{name}_rmse", "RMSE over cells of that quantity", "orbit2", "1", "lower", spaces=ONLY_PHYSICAL)
      for name in ("lag1_autocorrelation", "p01", "p11")),
    Entry("interannual_sigma_rmse", "RMSE over cells of that quantity", "orbit2", "field", "lower", spaces=ONLY_PHYSICAL),
    Entry("order_violations", "share of the area where the daily minimum is above the daily maximum, mean over samples", "orbit2", "1",
          "lower", "Variables are paired by their CF names and cell methods; the row's variable is the maximum.", spaces=ONLY_PHYSICAL),
    Entry("order_violation_size", "mean excess of the minimum over the maximum where it is above", "orbit2", "field", "lower",
          spaces=ONLY_PHYSICAL),
)  # fmt: skip
