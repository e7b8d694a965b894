# %% [markdown]
# # Your own data
#
# Two things that people do with files of their own: train a model on them, and give a trained model a file that it has not seen. The files
# here are made first, so that the notebook runs anywhere: a year of daily temperature and rain over the Alps, from real altitudes and
# invented weather. Yours take their place.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import orbit2
from orbit2.sources.sample import STATIC

height = xr.open_dataset(STATIC)["orography"].sel(lat=slice(42, 48), lon=slice(5, 15)).load()  # 24 x 40 cells of 0.25 degrees
days = xr.DataArray(pd.date_range("2020-01-01", "2020-12-31"), dims="time")
season = -np.cos(2 * np.pi * (days.dt.dayofyear - 20) / 366)
random = np.random.default_rng(1).standard_normal((len(days), 3, 4))
for day in range(1, len(days)):
    random[day] = 0.7 * random[day - 1] + 0.7 * random[day]
weather = xr.DataArray(random, {"time": days, "lat": [42, 45, 48], "lon": [5, 8, 11.5, 15]}, ("time", "lat", "lon"))
weather = weather.interp(lat=height.lat, lon=height.lon)

warm = 14 + 9 * season + 3 * weather - (5.5 + 1.5 * season) * height / 1000  # colder with height, in summer more so
rain = np.maximum(0, 2 - 3 * weather) ** 1.5 * (1 + height / 2000)  # wetter with height
archive = xr.Dataset({"tg": warm.assign_attrs(units="degC"), "rr": rain.assign_attrs(units="mm")})
archive = archive.transpose("time", "lat", "lon").astype("float32")
archive["lat"].attrs["units"], archive["lon"].attrs["units"] = "degrees_north", "degrees_east"

Path("my_data").mkdir(exist_ok=True)
for month, part in archive.groupby("time.month"):
    part.to_netcdf(f"my_data/alps_2020{month:02d}.nc")

# %% [markdown]
# ## Train on them
#
# `fit` does what `orbit2 new` and `orbit2.train` do: looks at the files, splits the time, sizes a model for this machine and the hours
# that you have, writes `alps.yaml` and trains. There is no coarse product here (`None`): block means of 4 x 4 cells are the input. What no
# file says is said: rain is an amount of 24 hours, days begin at 00:00 UTC. [Bring your own data](../own_data.md) has all that may be
# said.

# %% tags=["progress"]
maker = orbit2.Downscaler("alps", hours=0.03, factor=4, accumulated="24h", fine_day=0)
if Path("alps.yaml").exists():  # never overwritten: train what is there
    maker.model = orbit2.train("alps.yaml")
else:
    maker.fit(None, "my_data/*.nc")

# %% [markdown]
# The run is yours to read and change; here are its data and its split:

# %%
print("\n".join(Path("alps.yaml").read_text().splitlines()[8:30]))

# %% [markdown]
# ## How good is it?
#
# The last block of the split was not looked at in training. The pair store that the run made holds its inputs and truths.

# %%
from glob import glob

from orbit2.baselines.interpolation import interpolate
from orbit2.data.pairs import PairStore

store = glob("results/data/mine-*/pairs.zarr")[0]
test = slice("2020-11-01", "2020-12-31")
coarse = orbit2.open(store, side="coarse").sel(time=test).load()
truth = orbit2.open(store, side="fine").sel(time=test).load()
fine = maker.predict(coarse, lazy=False)

bicubic = truth.copy()
for name in bicubic.data_vars:
    lower = 0 if name == "precipitation_rate" else None  # interpolation overshoots
    bicubic[name].values = interpolate(coarse[name].values, PairStore(store).grid("coarse"), 4, "bicubic", lower=lower)
pd.concat({"bicubic": maker.model.score(bicubic, truth), "model": maker.model.score(fine, truth)}, names=["product"]).round(3)

# %%
kelvin = {"input": coarse, "bicubic": bicubic, "model": fine, "truth": truth}
figure, axes = plt.subplots(1, 4, figsize=(12, 2.4), sharey=True, layout="constrained")
for axis, (title, data) in zip(axes, kelvin.items(), strict=True):
    celsius = data["2m_temperature"].sel(time="2020-12-15").squeeze() - 273.15
    drawn = celsius.plot(ax=axis, add_colorbar=False, add_labels=False, cmap="RdYlBu_r", vmin=-6, vmax=14)
    axis.set_title(title)
bar = figure.colorbar(drawn, ax=axes, label="°C")

# %% [markdown]
# Here fine temperature follows from altitude, which the model knows and interpolation does not: errors are small because this world is
# simple. In a real archive expect less, and read the [report](read_a_report.ipynb) of `orbit2 run alps.yaml` before you use it.
#
# ## Give it a file that it has not seen
#
# Names, units and the order of latitudes are the file's own. What is usual is understood; what is not is asked for in one line.

# %%
mine = xr.Dataset({"temp": (coarse["2m_temperature"] - 273.15) * 9 / 5 + 32, "pr": coarse["precipitation_rate"] / 86400})
mine["temp"].attrs, mine["pr"].attrs = {"units": "degF"}, {"units": "kg m-2 s-1"}
mine.isel(time=slice(0, 5), lat=slice(None, None, -1)).to_netcdf("mine.nc")

from orbit2.errors import OrbitError

try:
    maker.predict("mine.nc")
except OrbitError as error:
    print(error)

# %%
made = maker.predict("mine.nc", rename={"temp": "2m_temperature"}, names="input", lazy=False)
print(made)

# %% [markdown]
# Written with `made.to_netcdf("fine.nc")`; in the shell the same is `orbit2 downscale mine.nc --model results/models/reslim-* -o fine.nc
# --rename temp=2m_temperature`. What is read, refused and never overwritten: [a file of your own](../own_file.md).
