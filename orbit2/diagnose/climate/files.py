"""climate.nc: maps of dates and of seasonality, years of the domains, sections, of the truth and all beside it. Never a score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.climate import monsoon, sections
from orbit2.climate.seasonality import INDICES, MEANING, UNITS
from orbit2.climate.years import PENTAD
from orbit2.diagnose.climate.gathered import Gathered
from orbit2.diagnose.climate.places import Place
from orbit2.diagnose.kept import TRUTH, KeptDays
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
DAY = {"units": "1", "comment": "day of the year, 1 = 1 January; in the calendar's years without a leap day"}


def dataset(days: KeptDays, found: Mapping[str, tuple[Gathered, Mapping[str, Gathered]]], places: list[Place],
            dates: bool = True) -> xr.Dataset:  # fmt: skip
    """Of every variable in `found`: its truth and its models. Names begin with the variable's. Without `dates` no maps of mean dates and
    durations: a year alone has no mean year to find its seasons from.

    (model, season, <space>): `onset`, `withdrawal` (mean dates), `duration`; (model, <space>): `bimodal`, `onset_wang`,
    `withdrawal_wang`, `annual_range`, `amount` and the seasonality indices; (model, domain, year): `domain_onset`, `domain_withdrawal`
    by fractional accumulation; (model, domain, pentad): `domain_pentads`; (model, <domain>_latitude, pentad): `section_<domain>`.
    """
    space = days.area.dims
    data: dict[str, xr.DataArray] = {"domain_weight": xr.DataArray(
        np.stack([p.weights.reshape(days.area.shape) for p in places]) if places else np.zeros((0, *days.area.shape)),
        dims=("domain", *space), attrs={"units": "km2", "long_name": "Area of the cell that counts for the domain"})}  # fmt: skip
    coords: dict[str, object] = {"domain": [p.domain.name for p in places], "domain_title": ("domain", [p.domain.title for p in places])}
    models: list[str] = []
    for name, (truth, beside_it) in found.items():
        every = {TRUTH: truth, **beside_it}
        models = list(dict.fromkeys([*models, *every]))
        one = _Maker(name, days, every)
        data |= (one.dates() if dates else {}) | one.maps() | one.domains(places) | one.sections(places, coords)
        coords |= {"year": truth.years, "season": [1, 2],
                   "pentad_begin": ("pentad", 1 + PENTAD * np.arange(truth.length // PENTAD))}  # fmt: skip
    made = xr.Dataset({key: array.reindex(model=models) if "model" in array.dims else array for key, array in data.items()})
    return made.assign_coords({**{str(key): value for key, value in days.area.coords.items()}, **coords})


class _Maker:
    def __init__(self, name: str, days: KeptDays, every: Mapping[str, Gathered]) -> None:
        self.name, self.space, self.shape, self.every = name, days.area.dims, days.area.shape, every
        self.truth = every[TRUTH]
        self.long_name = variable(name).long_name

    def _array(self, values: list[Array], dims: tuple[object, ...], attrs: Mapping[str, str]) -> xr.DataArray:
        stack = np.stack(values).astype(np.float32)
        return xr.DataArray(stack, dims=("model", *dims), coords={"model": list(self.every)}, attrs=dict(attrs))

    def dates(self) -> dict[str, xr.DataArray]:
        made: dict[str, xr.DataArray] = {}
        season = {"comment": "season 1: the only one, or the wetter of two; 2: the other; of models, those of the truth's"}
        for event in ("onset", "withdrawal", "duration"):
            lasts = event == "duration"
            maps = [_mean(x[event]) if lasts else self.truth.maps(x[event]) + 1 for x in (one.dates for one in self.every.values())]
            attrs = {**({"units": "day"} if lasts else DAY), "method": monsoon.ANOMALY, "long_name": f"Mean {event} of rainy seasons, "
                f"{self.long_name}"}
            attrs["comment"] = "; ".join(x["comment"] for x in (attrs, season) if "comment" in x)
            made[f"{self.name}_{event}"] = self._array([x.T.reshape(-1, *self.shape) for x in maps], ("season", *self.space), attrs)
        for event in ("onset", "withdrawal"):
            made[f"{self.name}_{event}_wang"] = self._cells([one.wang[event] + 1 for one in self.every.values()], {
                **DAY, "method": monsoon.WANG_LINHO, "long_name": f"{event.capitalize()} of the monsoon, {self.long_name}"})  # fmt: skip
        return made

    def maps(self) -> dict[str, xr.DataArray]:
        made: dict[str, xr.DataArray] = {}
        about = {"bimodal": ("1", "1: two rainy seasons a year"), "annual_range": ("mm day-1", "Mean rain of local summer less local "
            "winter"),
                 "amount": ("mm year-1", "Mean yearly amount")}  # fmt: skip
        for key, (units, words) in {**about, **{index: (UNITS[index], MEANING[index]) for index in INDICES}}.items():
            way = ", mean of hydrological years" if key in INDICES else ""
            attrs = {"units": units if units != "month" else "1", "long_name": f"{words}{way}"}
            made[f"{self.name}_{key}"] = self._cells([one.cells[key] for one in self.every.values()], attrs)
        return made

    def _cells(self, values: list[Array], attrs: Mapping[str, str]) -> xr.DataArray:
        return self._array([np.asarray(x, dtype=np.float64).reshape(self.shape) for x in values], self.space, attrs)

    def domains(self, places: list[Place]) -> dict[str, xr.DataArray]:
        if not places:
            return {}
        dates: dict[str, list[Array]] = {"onset": [], "withdrawal": []}
        pentads: list[Array] = []
        for one in self.every.values():
            series = [xr.DataArray(one.series[i], dims=("year", "day"), coords={"year": one.years, "leap": ("year", one.leap)})
                      for i in range(len(places))]  # fmt: skip
            pentads.append(np.stack([sections.pentad_climatology(x).to_numpy() for x in series]))
            by = [monsoon.fractional_accumulation(x, p.domain.southern, p.domain.withdrawal) for x, p in zip(series, places, strict=True)]
            for event, values in dates.items():
                values.append(np.stack([x[f"yearly_{event}"].to_numpy() for x in by]) + 1)
        made = {f"{self.name}_domain_{event}": self._array(values, ("domain", "year"), {
            **DAY, "method": monsoon.ACCUMULATION, "long_name": f"{event.capitalize()} of the season of the domain's mean rain"})
            for event, values in dates.items()}  # fmt: skip
        made[f"{self.name}_domain_pentads"] = self._array(pentads, ("domain", "pentad"), {
            "units": "mm day-1", "long_name": f"{self.long_name}, domain mean, mean year"})  # fmt: skip
        return made

    def sections(self, places: list[Place], coords: dict[str, object]) -> dict[str, xr.DataArray]:
        made = {}
        for p in places:
            name = p.domain.name
            if p.sector is not None and name in self.truth.sections:
                along = f"{name}_latitude"
                coords[along] = (along, p.sector.latitude, {"units": "degrees_north", "standard_name": "latitude"})
                made[f"{self.name}_section_{name}"] = self._array(
                    [_mean(one.sections[name], axis=1) for one in self.every.values()], (along, "pentad"),
                    {"units": "mm day-1", "long_name": f"{self.long_name}, mean year, zonal mean"})  # fmt: skip
        return made


def _mean(values: Array, axis: int = -1) -> Array:
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    made: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return made
