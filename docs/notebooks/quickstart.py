# %% [markdown]
# # Quickstart
#
# Real ERA5, a small model trained on this machine in a minute or two, a field four times finer, and its errors beside those of
# interpolation. Everything is written beside this notebook. It needs `week.yaml`, which lies there already.

# %%
from glob import glob
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr

import orbit2

week = orbit2.sample()
print({name: week[name].attrs["units"] for name in week.data_vars}, dict(week.sizes))

# %% [markdown]
# ## Train
#
# A run is one YAML file: data, a split in time, models. [All keys](../configuration.md) are documented and checked.

# %%
print(Path("week.yaml").read_text())

# %% [markdown]
# `orbit2.train` fetches (here: unpacks), pairs, takes statistics of the training block, and trains; called again, it finds what is there.

# %% tags=["progress"]
model = orbit2.train("week.yaml", "small")

# %% [markdown]
# The model says what goes in, what comes out, and what it was trained on.

# %%
model

# %% [markdown]
# ## Downscale
#
# The test block was not looked at in training. A pair store holds both sides; a file of your own does as well ([your own
# data](own_data.ipynb)).

# %%
store = glob("results/data/week-*/pairs.zarr")[0]
test = slice("2026-03-30T18:00", "2026-03-31T23:00")
coarse = orbit2.open(store, side="coarse").sel(time=test).load()
truth = orbit2.open(store, side="fine").sel(time=test).load()

fine = model.downscale(coarse)  # lazy: computed when it is asked for
fine = fine.load()
print(dict(coarse.sizes), "->", dict(fine.sizes))
print(fine["2m_temperature"].attrs["units"], "|", fine.attrs["history"].splitlines()[0])

# %% [markdown]
# ## Look
#
# The western United States, the last time of the block. Interpolation of the very same input is what a model has to beat.

# %%
from orbit2.baselines.interpolation import interpolate
from orbit2.grid import named
from orbit2.sources.sample import STATIC

bicubic = truth.copy()
for name in bicubic.data_vars:
    lower = 0 if name == "precipitation_rate" else None  # interpolation overshoots
    bicubic[name].values = interpolate(coarse[name].values, named("global_4.0"), 4, "bicubic", lower=lower)

box = {"lat": slice(28, 52), "lon": slice(232, 268)}
sea = xr.open_dataset(STATIC)["land_sea_mask"].sel(box)


def panels(fields: dict[str, xr.DataArray], label: str, **colours: object) -> None:
    """Maps side by side, with coasts and one colour bar."""
    figure, axes = plt.subplots(1, len(fields), figsize=(3.1 * len(fields), 2.9), sharey=True, layout="constrained")
    for axis, (title, field) in zip(axes, fields.items(), strict=True):
        drawn = field.sel(box).plot(ax=axis, add_colorbar=False, add_labels=False, **colours)
        axis.contour(sea.lon, sea.lat, sea, levels=[0.5], colors="k", linewidths=0.6)
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.9)


kelvin = {"input": coarse, "bicubic": bicubic, "model": fine, "truth": truth}
last = {name: data["2m_temperature"].isel(time=-1) for name, data in kelvin.items()}
panels({name: field - 273.15 for name, field in last.items()}, "2 m temperature, °C", cmap="RdYlBu_r", vmin=-10, vmax=30)

# %%
errors = {f"{name} - truth": last[name] - last["truth"] for name in ("bicubic", "model")}
panels(errors, "error, K", cmap="RdBu_r", vmin=-5, vmax=5)

# %% [markdown]
# ## Score
#
# Over the whole globe and all four times of the test block, weighted by area; rain in mm/day.

# %%
scores = pd.concat({"bicubic": model.score(bicubic, truth), "model": model.score(fine, truth)}, names=["product"])
scores.round(3)

# %% [markdown]
# Temperature errors are about half of interpolation's. Rain is hardly better in mm/day and too dry on average (`bias`): so short a
# training does not do for it. Interpolation is a weak opponent, too: [a report](read_a_report.ipynb) sets the model beside corrections
# of each cell's mean error, which are as good here. Four frames of one week say nothing of other seasons; a run on years does.
#
# ## Keep

# %%
fine.to_netcdf("fine.nc")
[kept.label for kept in orbit2.models()]
