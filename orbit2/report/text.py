"""The report's fixed words: what each source is, what the metrics mean, what a run cannot say. Never computes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orbit2.config.dataset import DatasetConfig
from orbit2.config.files import SIDE
from orbit2.config.sources import traits

SOURCES: dict[str, tuple[str, str]] = {
    "sample": (
        "ERA5 hourly fields of one week (the sample that ships with orbit2)",
        "Contains modified Copernicus Climate Change Service information 2026. Neither the European Commission nor ECMWF is responsible "
        "for any use that may be made of the Copernicus information or data it contains. ERA5: Hersbach et al. 2020, "
        "doi 10.24381/cds.adbb2d47, CC BY 4.0.",
    ),
    "era5": (
        "ERA5 reanalysis",
        "Contains modified Copernicus Climate Change Service information. Neither the European Commission nor ECMWF is responsible for any "
        "use that may be made of the Copernicus information or data it contains. ERA5: Hersbach et al. 2020, doi "
        "10.24381/cds.adbb2d47, CC BY 4.0.",
    ),
    "prism": ("PRISM daily climate data", "PRISM Group, Oregon State University, https://prism.oregonstate.edu."),
    "daymet": ("DAYMET Version 4 R1", "Thornton et al. 2022, ORNL DAAC, doi 10.3334/ORNLDAAC/2129."),
    "synthetic": (
        "daily rain and temperature of a SYNTHETIC test world",
        "SYNTHETIC: made by orbit2 from a formula and a seed, as a test of its diagnostics; not weather, and nothing that was ever "
        "observed. Land and altitude are real.",
    ),
    "imerg": ("IMERG V07 Final", "Huffman et al. 2023, NASA GES DISC, doi 10.5067/GPM/IMERGDF/DAY/07."),
}


def source_of(dataset: DatasetConfig, source: str | None = None) -> tuple[str, str]:
    """(what a source of a dataset is, its default the truth's; whom to credit)."""
    name = source or dataset.source
    if traits(name).adopted and dataset.files is not None:
        return f"the user's own files ({SIDE[name]} side)", dataset.files.credit or "No credit is given for the user's own files."
    return SOURCES[name]


REGIONS_CREDIT = "IPCC WGI reference regions v4, Iturbide et al. (2020), CC BY 4.0."
COAST_CREDIT = "Coastlines: Natural Earth, 1:110m on the globe, 1:50m in boxes (public domain)."
COAST_ENLARGED = "The coastline is a 1:50m outline, right to a few kilometres: where cells are smaller, read them, not the line."

METHODS = {  # what is available without the model, in a few words
    "nearest": "each fine cell has the value of the coarse cell around it",
    "bilinear": "straight lines between the coarse cells' centres",
    "bicubic": "smooth curves between the coarse cells' centres",
    "conservative": "interpolation that keeps the mean of every coarse cell",
    "delta": "interpolation, corrected by each cell's mean error in the training years",
    "delta_monthly": "interpolation, corrected by each cell's mean error of that month in the training years",
    "regression": "a straight line from the interpolated value to the truth, fitted in each cell to the training years",
    "lapse_rate": "interpolation, corrected by altitude",
    "quantile_mapping": "interpolation, its distribution in each cell mapped to that of the training years",
    "bcsd": "the input's distribution corrected to that of the training years, its departure from the mean interpolated",
    "bcsd_monthly": "the input's distribution corrected by month to that of the training years, its departure from the mean interpolated",
}

GLOSSARY: tuple[tuple[str, str], ...] = (
    (
        "RMSE",
        "Root-mean-square error: square root of the area-weighted mean of (model − truth)², pooled over all test frames and cells. "
        "In the units of the variable; lower is better.",
    ),
    (
        "RMSE ratio",
        "RMSE of the model divided by the RMSE of the best baseline. Below 1 the model adds something; at 1 it does no better than a "
        "method without any network.",
    ),
    (
        "95 % interval",
        "From draws of blocks of days, the same for all that is compared. Of a difference: where it lies below zero, the model's lead is "
        "more than chance. Records of fewer than 60 days have none.",
    ),
    ("MAE", "Mean absolute error, area-weighted. Less sensitive to a few large errors than RMSE."),
    ("bias", "Area-weighted mean of model − truth. Positive: the model is too warm, too windy, too wet."),
    ("r, r²", "Pearson correlation of model and truth over all cells and frames, and its square. Blind to bias and to a wrong amplitude."),
    (
        "R² (COD)",
        "Coefficient of determination (r2_cod), 1 − squared error ÷ variance of the truth. Unlike r² it punishes bias; negative "
        "when the model is "
        "worse than the truth's mean.",
    ),
    (
        "SSIM",
        "Structural similarity (Wang et al. 2004): local agreement of mean, variance and pattern in an 11 × 11 Gaussian window; 1 "
        "is perfect. "
        "Uses one fixed data range per variable.",
    ),
    (
        "PSNR",
        "Peak signal-to-noise ratio, 10 log₁₀(L²/MSE) in decibels with a fixed range L. Says the same as RMSE on a logarithmic scale.",
    ),
    (
        "ln(1 + x)",
        "Precipitation is skewed, so it is also scored as ln(1 + x) with x in mm/day. A small error there says little about heavy rain; "
        "read it beside the score in mm/day.",
    ),
    (
        "nearest, bilinear, bicubic, conservative",
        "Interpolations of the coarse input to the fine grid. “Conservative” is bilinear plus a correction that keeps every coarse "
        "cell's mean. “of ln(1+x)” interpolates the logarithm and transforms back.",
    ),
    (
        "Power spectrum",
        "How much variance a field has at each wavelength. A ratio to the truth below 1 means too smooth, above 1 too noisy.",
    ),
    (
        "Nyquist wavelength",
        "Twice the grid spacing: the shortest wave a grid can hold. Between the coarse and the fine Nyquist wavelength all structure "
        "is added by the method; nothing there was in the input.",
    ),
    ("Effective resolution", "The longest wavelength at which the power ratio to the truth leaves the range 0.5 to 2."),
    (
        "Conservation residual",
        "Area-weighted mean of the fine field over each input cell minus that input cell. Zero when downscaling keeps the input's means.",
    ),
    (
        "Skill",
        "1 − RMSE of the model ÷ RMSE of the best baseline, interpolation or fitted. Positive is better than all of them, 1 is perfect.",
    ),
    (
        "delta, regression per cell, lapse rate, quantile mapping, BCSD",
        "Corrections of the conservative interpolation that are fitted to the training samples alone: the mean error of each cell (delta), "
        "a straight line in each cell, drawn towards delta while samples are few (regression), one number of K per metre of height "
        "(lapse rate, temperature), the place of a value in a cell's distribution (quantile mapping), and the corrected input's departure "
        "from the mean, put on the fine mean (BCSD). They know what a place is like, as every weather service's station correction does.",
    ),
    ("parent", "The model that a fine-tuned one started from, scored on the same cells and frames."),
    (
        "Fine structure",
        "A field minus its means over the input's cells: what the input cannot hold. Its correlation with the truth's says how much of the "
        "added detail is in the right place.",
    ),
)


def inputs(facts: Mapping[str, Any]) -> str:
    """What the inputs are to the truth: its own average, or another product."""
    copies, others = facts["copies"], facts["others"]
    name = f"Experiment: {facts['experiment']}. " if "experiment" in facts else ""
    if copies:
        subject = "The coarse input is an area average of the truth itself" if not others else (
            f"Among the inputs are area averages of the truth itself: {', '.join(copies)}")
        cells = f"{facts['refinement']} × {facts['refinement']} cells"
        return (f"{name}{subject} ({cells}). It tests super-resolution; inputs from another model or product bring errors of their own "
                "that are not measured here.")
    return (f"{name}The inputs come from another product than the truth: the scores hold the differences between the two products as well "
            "as the errors of the method.")


NO_LEVELS = ("Levels that are reached once in many years need at least 20 years of days, so that members say nothing of them here.")


def limits(facts: Mapping[str, Any]) -> list[str]:
    """What this run cannot say, from its facts: `frames`, `first`, `last`, `training_frames`, `days`, `source`, `intervals`,
    `refinement`, `copies` and `others` (inputs that are averages of the truth, and outputs that have none), `finer` (side: by how much
    it is finer than the source), `gap` (least time between blocks where it was set by hand), `untold` (needs years, has no rows),
    `members` of the prediction (0: one estimate), `synthetic` (the truth is a formula), `alone` (the model, where no other predicted the
    same samples), `origin` (where a model that was not trained here came from), `shown` (key -> the number for the page, with where it was
    read)."""
    found = []
    shown = {key: facts.get("shown", {}).get(key, facts.get(key)) for key in ("frames", "days", "members", "gap")}
    shown["finer"] = facts.get("shown", {}).get("finer") or facts.get("finer", {})
    if facts["frames"] < 30:
        found.append(
            f"The scores rest on {shown['frames']} test frame{'s' if facts['frames'] != 1 else ''} between {facts['first']} and "
            f"{facts['last']}. They "
            "carry no information about other seasons or years, and neighbouring frames are not independent"
            + ("." if facts["intervals"] else ", so no confidence interval is given: differences of a few per cent may be chance.")
        )
    elif not facts["intervals"]:
        found.append("No score has a confidence interval: the test frames lie within fewer than 60 days, or none were asked for. "
                     "Differences of a few per cent may be chance.")
    if facts["intervals"]:
        found.append("The intervals say how far other days of the same weather would move a score. Other years, other regions and another "
                     "seed of the training are not in them.")
    if facts.get("days") is not None and facts["days"] < 365:
        found.append(
            f"Training, validation and test all lie within {shown['days']} days. The test weather is a continuation of the training "
            "weather: expect lower skill in another season."
        )
    for side, told in shown["finer"].items():
        found.append(f"The grid is finer than the source's own ({side}: {told}). Neighbouring cells repeat its values: there is no fine "
                     "structure to learn or to score.")
    if facts.get("gap"):
        found.append(f"Training, validation and test may be as close as {shown['gap']}: the test weather is partly known from training.")
    extremes = "".join(f" {words}" for words in facts.get("extremes", ()))
    one = "The model is deterministic: it gives one estimate, and no probability can be read from it."
    several = (f"The {shown['members']} members say how sure the model is of itself; whether that is right, their reliability and "
               "spread say, where they are scored.")  # fmt: skip
    found += [
        inputs(facts),
        (several if facts.get("members") else one) + extremes,
        "The truth is made from a formula: it is no weather, and agreement with it says nothing about weather." if facts.get("synthetic")
        else "The truth is a gridded product, not station observations. Agreement with it includes its errors.",
        *([f"Only {facts['alone']} predicted these samples in this run, so what its size, parts or losses bring is not told: another "
           "entry of `models` and a task with it on the same samples would stand beside it; `orbit2 report --compare RUN_A RUN_B` sets "
           "two runs beside each other."] if facts.get("alone") else []),
        f"The weights are not of this run: {facts['origin']}." if facts.get("origin") else
        "One training run with one seed is shown; another seed gives somewhat different numbers.",
        f"Too short a record, or nothing to judge them by: it tells nothing of {' nor of '.join([*facts.get('untold', ()), 'trends'])}.",
    ]
    return found
