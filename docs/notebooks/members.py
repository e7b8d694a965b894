# %% [markdown]
# # Members: how sure is it?
#
# A coarse field does not determine a fine one. A model with noise draws **members**: fields that are equally likely for the same input.
# This notebook draws some, makes probabilities of them, and looks whether their spread can be believed. What members mean, in full: [How
# sure is it?](../uncertainty.md)

# %%
from glob import glob

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from scores.probability import crps_for_ensemble

import orbit2
from orbit2.sources.sample import STATIC

# %% [markdown]
# `members` of `week.yaml` is a second stage on the model of the [quickstart](quickstart.ipynb): the same network, trained on by the CRPS
# of what it draws.

# %% tags=["progress"]
model = orbit2.train("week.yaml", "members")

# %%
store = glob("results/data/week-*/pairs.zarr")[0]
test = slice("2026-03-30T18:00", "2026-03-31T23:00")
coarse = orbit2.open(store, side="coarse").sel(time=test).load()
truth = orbit2.open(store, side="fine").sel(time=test).load()

drawn = model.downscale(coarse, members=16, seed=0, lazy=False)
drawn["2m_temperature"].dims, drawn["2m_temperature"].shape

# %% [markdown]
# ## Fields that are equally likely
#
# 2 m temperature over the western United States, two members less their mean; then the spread of all 16 beside the error of their mean:
# members should differ where their mean is wrong. Over the mountains they do; stripes as wide as the input's cells say that they were
# trained for 40 steps only.

# %%
box = {"lat": slice(28, 52), "lon": slice(232, 268)}
sea = xr.open_dataset(STATIC)["land_sea_mask"].sel(box)


def panels(fields: dict[str, xr.DataArray], label: str, **colours: object) -> None:
    """Maps side by side, with coasts and one colour bar."""
    figure, axes = plt.subplots(1, len(fields), figsize=(3.1 * len(fields), 2.9), sharey=True, layout="constrained")
    for axis, (title, field) in zip(axes, fields.items(), strict=True):
        shown = field.sel(box).plot(ax=axis, add_colorbar=False, add_labels=False, **colours)
        axis.contour(sea.lon, sea.lat, sea, levels=[0.5], colors="k", linewidths=0.6)
        axis.set_title(title)
    figure.colorbar(shown, ax=axes, label=label, shrink=0.9)


warm = drawn["2m_temperature"].isel(time=-1)
mean = warm.mean("member")
panels({"member 0 - mean": warm.isel(member=0) - mean, "member 1 - mean": warm.isel(member=1) - mean}, "K", cmap="RdBu_r", vmin=-3, vmax=3)

# %%
error = abs(mean - truth["2m_temperature"].isel(time=-1))
panels({"spread of the members": warm.std("member", ddof=1), "error of their mean": error}, "K", cmap="magma_r", vmin=0, vmax=3)

# %% [markdown]
# ## Probabilities
#
# The share of members in which something holds. Compute what you need member by member, and average afterwards.

# %%
frost = {"chance of frost": (warm < 273.15).mean("member"), "frost in truth": 1.0 * (truth["2m_temperature"].isel(time=-1) < 273.15)}
panels(frost, "share of members", cmap="Blues", vmin=0, vmax=1)

# %% [markdown]
# Quantiles and probabilities can be made while members stream, which are then never stored:

# %%
kept = model.downscale(coarse.isel(time=[-1]), members=16, seed=0, quantiles=(0.1, 0.9), probability="precipitation>10")
list(kept.data_vars), dict(kept.sizes)

# %% [markdown]
# ## Can the spread be believed?
#
# Where it can, the spread of the members is as large as the error of their mean. CRPS is the error of the ensemble as a whole, in the
# variable's units: that of a single field is its mean absolute error.

# %%
weights = np.cos(np.deg2rad(truth.lat))
count = drawn.sizes["member"]
rows = {}
for name in drawn.data_vars:
    members, observed = drawn[name], truth[name]
    error = np.sqrt(((members.mean("member") - observed) ** 2).weighted(weights).mean())
    spread = np.sqrt(members.var("member", ddof=1).weighted(weights).mean() * (count + 1) / count)
    crps = crps_for_ensemble(members, observed, "member", method="fair", preserve_dims="all").weighted(weights).mean()
    one = abs(members.isel(member=0) - observed).weighted(weights).mean()
    mean = abs(members.mean("member") - observed).weighted(weights).mean()
    rows[name] = {"spread / error": spread / error, "CRPS": crps, "MAE of the mean": mean, "MAE of one member": one}
pd.DataFrame(rows).T.astype(float).round(3)

# %% [markdown]
# Ranks of the truth among the members: flat where the truth could be one of them, a U where they are too alike. Drizzle below 0.1 mm/day
# is left out.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for axis, name in zip(axes, drawn.data_vars, strict=True):
    members, observed = drawn[name], truth[name]
    rank = (members < observed).sum("member")
    if name == "precipitation_rate":
        rank = rank.where((observed > 0.1) | (members > 0.1).any("member"))
    axis.hist(rank.values.ravel(), bins=np.arange(-0.5, count + 1), density=True, color="#1f5c99", rwidth=0.9)
    axis.axhline(1 / (count + 1), color="k", linewidth=1)
    axis.set(title=name.replace("_", " "), xlabel="members below the truth", ylabel="share of cells")

# %% [markdown]
# Temperature is nearly right: the spread is almost as large as the error, and ranks are nearly flat. Rain is not: 40 steps on 16 frames
# have hardly moved its members apart, the spread is a small part of the error, and the truth lies outside all of them in most cells. Such
# probabilities of rain must not be used: train the stage for longer (`make demo` does, in 120 steps). In a run on years the report has
# these figures by region and threshold, with intervals.
