"""Seasons of rain, seasonality, sections of the mean year and the climate matrix: what the diagnose stage makes of kept days."""

from orbit2.metrics.entries.entry import ONLY_PHYSICAL, Direction, Entry, Units

TITLE = "Seasons of rain"
METHODS = ("Of cells by the cumulative anomaly (Liebmann & Marengo 2001, J. Climate 14:4308; Dunning et al. 2016, J. Geophys. Res. "
    "Atmos. 121:11405); "
           "`mean_`: of the domain's mean rain by fractional accumulation (Sperber & Annamalai 2014, Clim. Dyn. 43:3219); `wang_`: of "
           "cells, "
           "Wang & LinHo 2002, J. Climate 15:386; `bombardi_`: of cells, Bombardi et al. 2019 (RADS), Int. J. Climatol. "
           "39:3962; `first_`, `second_`: of cells with two rainy seasons, the wetter and the other")  # fmt: skip
FENG = "Feng et al. 2013, Nat. Clim. Change 3:811; Walsh & Lawler 1981, Weather 36:201"
OURS = "orbit2 (no definition of the published score is known)"
CIRCLE = "differences the short way round the year"
CLIVAR = "CLIVAR MJO Working Group 2009, J. Climate 22:3006; Duchon 1979, J. Appl. Meteorol. 18:1016"
IMBALANCE = "Dates of different methods differ by weeks: compare none of one with another's."


def _entry(name: str, formula: str, source: str, units: Units, direction: Direction, trap: str = "") -> Entry:
    return Entry(name, formula, source, units, direction, trap, spaces=ONLY_PHYSICAL, stages=("diagnose",))


ENTRIES = (
    _entry("monsoon_mean_{event}_day", "day of the year of the mean year's onset or withdrawal, 1 = 1 January", "Sperber & Annamalai "
           "2014, "
           "Clim. Dyn. 43:3219", "day", "truth", IMBALANCE),
    _entry("monsoon_mean_duration_days", "from onset to withdrawal of the mean year, both included", "Sperber & Annamalai 2014, Clim. "
           "Dyn. "
           "43:3219", "day", "truth"),
    _entry("monsoon_{which}{event}_bias", f"mean of date p − date o over cells and years, {CIRCLE}; positive: later (of `duration`: "
           "longer)", METHODS,
           "day", "zero", "`truths_mean_`: anomalies of both from the truth's mean, so that a wet bias shows as an early onset."),
    _entry("monsoon_{which}{event}_mae", "mean absolute difference of dates", METHODS, "day", "lower", IMBALANCE),
    _entry("monsoon_{which}{event}_hits_{days}d", "share of cells and years whose dates differ by at most so many "
           "days", METHODS, "1", "higher"),
    _entry("monsoon_{which}{event}_within_90", "days within which nine tenths of the dates are right", METHODS, "day", "lower"),
    _entry("monsoon_{which}{event}_phase", "mean of ½ (1 + cos(2π Δ / year))", "Collier et al. 2018 (ILAMB), J. Adv. Model. Earth Syst. "
           "10:2731", "1", "higher", "A month's error still scores 0.94."),
    _entry("monsoon_{which}{event}_missed", "share of the truth's seasons that p does not have", METHODS, "1", "lower"),
    _entry("monsoon_{which}{event}_pattern_r", "centred, area-weighted correlation of maps of mean dates, unwrapped about the truth's "
           "circular mean",
           METHODS, "1", "higher", "Blind to a season that is late everywhere: read the bias beside it."),
    _entry("monsoon_{which}{event}_taylor", "4 (1 + R) / ((s + 1/s)² 2) of maps of mean dates", "Taylor 2001, JGR 106:7183, eq. "
           "4", "1", "higher"),
    _entry("monsoon_{which}{event}_yearly_r", "correlation of the yearly dates of the domain's mean rain", METHODS, "1", "higher"),
    _entry("monsoon_seasons_agreement", "share of the area with as many rainy seasons a year (one or two) as the truth", "Dunning et "
           "al. 2016, "
           "J. Geophys. Res. Atmos. 121:11405", "1", "higher"),
    _entry("monsoon_area_threat", "hits / (hits + misses + false alarms) of the area where summer less winter rain is above 2.5 mm/day",
           "Wang et al. 2011, Clim. Dyn. 37:941", "1", "higher"),
    _entry("seasonality_{index}_bias", "mean of index p − index o", FENG, "1", "zero", "`centroid` and `spread` are in months, not 1; "
           "`dsi` with one R_max "
           "of 7932 mm a year for all. `_climatological`, of the mean year, is lower than the mean of years."),
    _entry("seasonality_{index}_pattern_r", "centred, area-weighted correlation of maps of the index", FENG, "1", "higher"),
    _entry("seasonality_{index}_nrmse", "RMSE of the maps over the standard deviation of the truth's", FENG, "1", "lower"),
    _entry("seasonality_{index}_taylor", "4 (1 + R) / ((s + 1/s)² 2) of maps of the index", "Taylor 2001, JGR 106:7183, eq. "
           "4", "1", "higher"),
    _entry("section_discriminates", "1 where nearest-neighbour interpolation and the truth's mean frozen in time both correlate with "
           "the truth's "
           "section by less than 0.95", OURS, "1", "none", "With 0, no model is judged by this section."),
    _entry("section_pattern_r", "centred correlation of sections (latitude, pentad of the mean year), weighted by cos "
           "φ", OURS, "1", "higher",
           "Most of it is the mean's latitudes: see section_discriminates."),
    _entry("section_nrmse", "RMSE of sections over the truth's standard deviation", OURS, "1", "lower"),
    _entry("section_taylor", "4 (1 + R) / ((s + 1/s)² 2) of sections", "Taylor 2001, JGR 106:7183, eq. 4", "1", "higher"),
    _entry("section_lag_pentads", "shift of p in time at which the correlation is highest; positive: p is late", OURS, "pentad", "zero"),
    _entry("section_track_rmse", "RMSE of the rain's mean latitude ΣPφ cos φ / ΣP cos φ", OURS, "degree", "lower"),
    _entry("waves_discriminate", "1 where nearest-neighbour interpolation correlates with the truth's waves by less than 0.95, and the "
           "truth's mean frozen in time with its unfiltered section", OURS, "1", "none", "With 0, no model is judged by its waves."),
    _entry("waves_total_pattern_r", "centred correlation of daily means of 5S-5N by longitude and day, as they are", OURS, "1", "higher",
           "Most of it is the mean's longitudes and the season."),
    _entry("waves_pattern_r", "the same, of anomalies of 20 to 100 days (201-day Lanczos band-pass)", CLIVAR, "1", "higher",
           "Weather systems that are in the input are in the right place anyway: read `waves_discriminate` first."),
    _entry("waves_nrmse", "RMSE of the waves over the truth's standard deviation", CLIVAR, "1", "lower"),
    _entry("waves_taylor", "4 (1 + R) / ((s + 1/s)² 2) of the waves", "Taylor 2001, JGR 106:7183, eq. 4", "1", "higher"),
    _entry("waves_lag_days", "shift of p in time at which its waves correlate best; positive: p is late", OURS, "day", "zero"),
    _entry("waves_regression_{axis}_r", "correlation of lag regressions on the filtered mean of the reference longitudes: of 5S-5N by "
           "longitude, of the reference longitudes by latitude", CLIVAR, "1", "higher"),
    _entry("waves_speed", "of the straight line through the reference longitude and lag 0 along which the regression by longitude is "
           "highest; positive: eastward", CLIVAR, "m/s", "truth", "Round the globe only; of a standing wave it may be of either "
           "sign: read waves_east_west."),
    _entry("waves_period", "1 / mean frequency of the waves, weighted by power", OURS, "day", "truth"),
    _entry("waves_east_west", "power of zonal wavenumbers 1 to 3 that travel east over that of those that travel west, 20 to 100 days",
           CLIVAR, "1", "truth", "Round the globe only."),
    Entry("event_{kind}", "mean of the region on the record's most extreme day of the kind, chosen by the truth over all regions", OURS,
          "field", "truth", "One day: it says what an extreme looks like, not how often the model gets extremes right.",
          spaces=ONLY_PHYSICAL, stages=("diagnose",)),
    _entry("climate_score_{column}", "100 max(0, r) of the map of mean dates (onset, withdrawal), of the index (dsi: seasonality; "
           "relative entropy: "
           "entropy) or of the section (hovmoller)", OURS, "1", "higher", "Not the published scores: their formula and domains are not "
           "known, "
           "their data are others."),
)  # fmt: skip
