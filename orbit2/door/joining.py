"""Fields of several files as one lazy Dataset: variables side by side, times one after another. Reads coordinates, and a field only where
two files say different things about one time. Never fills, never averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from orbit2.door.axes import horizontal, time_name
from orbit2.door.damage import reading
from orbit2.door.stamps import written
from orbit2.errors import OrbitError
from orbit2.times import Times, months, normal, steps

SAME = 1e-4  # degrees or metres per cell: how far coordinates of one grid may be apart (float32 beside float64)
COMPARED = 3  # times that two files both have, of which the fields are compared
_NOT_FIELDS = ("number", "expver", "spatial_ref")
STILL = {"XLAT", "XLONG", "XLAT_U", "XLONG_U", "XLAT_V", "XLONG_V", "COSALPHA", "SINALPHA"}
AGAIN = "is the file whole? Download or copy it again"
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One file's Dataset, with its time (where it has one) along a dimension."""

    where: object
    data: xr.Dataset
    time: str | None  # the coordinate and its dimension
    stamps: npt.NDArray[Any]  # [T], datetime64 or dates of another calendar


class _Chain(BackendArray):
    """Fields of several files one after another along `axis`; `picks` [T, 2]: part and step of each time."""

    def __init__(self, fields: Sequence[xr.Variable], where: Sequence[object], axis: int, picks: Index) -> None:
        self.fields, self.where, self.axis, self.picks = fields, where, axis, picks
        shape = list(fields[0].shape)
        shape[axis] = len(picks)
        self.shape, self.dtype = tuple(shape), np.result_type(*(field.dtype for field in fields))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[Any]:
        chosen = np.atleast_1d(np.arange(len(self.picks))[key[self.axis]])
        picks = self.picks[chosen]
        follows = (np.diff(picks[:, 0]) == 0) & (np.diff(picks[:, 1]) == 1)
        pieces = []
        for run in np.split(picks, np.flatnonzero(~follows) + 1):
            part, first = int(run[0, 0]), int(run[0, 1])
            inner = list(key)
            inner[self.axis] = slice(first, first + len(run))
            with reading(self.where[part], "a data file", hint=AGAIN):
                values = np.asarray(self.fields[part][_kept(inner)].values)
            pieces.append(values)
        # dimensions that the key drops come back as axes of one cell, so that `axis` means the same; they are dropped at the end
        whole = np.concatenate(pieces, self.axis) if pieces else np.empty(0, self.dtype)
        dropped = tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key)
        return np.asarray(whole[dropped], dtype=self.dtype)


def _kept(key: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(k if isinstance(k, slice) or np.ndim(k) else slice(int(k), int(k) + 1) for k in key)


def joined(parts: Sequence[tuple[object, xr.Dataset]], notes: list[str]) -> xr.Dataset:
    """All fields of `parts` (where, Dataset), lazily: files of other variables are merged, files of other times follow one another.

    Times in disorder are sorted. A time that several files have counts once where their fields are the same. Variables of different times
    keep those that all have. What was left out is a line in `notes`. Raises OrbitError where two files contradict each other, or lie on
    different grids.
    """
    if len(parts) == 1:
        return parts[0][1]
    found = [_part(where, data) for where, data in parts]
    found = _alike(found)
    held: dict[str, list[Part]] = {}
    for part in found:
        for name, field in part.data.data_vars.items():
            if field.ndim > 1 or part.time is None or part.time not in field.dims:  # not one number per time
                held.setdefault(str(name), []).append(part)
    timed: dict[str, tuple[npt.NDArray[Any], xr.DataArray]] = {}
    constant: dict[str, xr.DataArray] = {}
    axis = next((part.time for part in found if part.time), None)
    for name, having in held.items():
        along = [part for part in having if part.time is not None and part.time in part.data[name].dims]
        if along and _is_bounds(along[0], name):
            continue
        if along:
            if len(along) < len(having):
                bare = next(part for part in having if part.time is None or part.time not in part.data[name].dims)
                raise OrbitError(f"'{name}' has times in other files, but none here", where=bare.where, hint="name files that say them")
            timed[name] = _followed(name, along, notes)
        else:
            constant[name] = _once(name, having)
    common = _common(timed, notes)
    merged = xr.Dataset(attrs=_shared([part.data.attrs for part in found]))
    for name in (*timed, *constant):
        field = constant[name] if name in constant else timed[name][1]
        if name in timed:
            stamps = timed[name][0]
            keep = np.flatnonzero(np.isin(stamps, common))
            if len(keep) < len(stamps):
                field = field.isel({str(axis): keep})
        merged = _with(merged, name, field)
    if axis is not None and len(common):
        first = next(part for part in found if part.time is not None)
        merged = merged.assign_coords({axis: (axis, common, first.data[axis].attrs)})
        merged[axis].encoding.update({k: v for k, v in first.data[axis].encoding.items() if k in ("units", "calendar")})
        bounds = _bounds_of_months([part for part in found if part.time is not None], common)
        if bounds is not None:
            merged[axis].attrs["bounds"] = "time_bnds"
            merged["time_bnds"] = (axis, "bnds"), bounds
    return merged


def _part(where: object, data: xr.Dataset) -> Part:
    """With one dimension and coordinate of time, whose name is that of the coordinate; none where there is no time."""
    data = data.drop_vars([n for n in ("expver",) if n in data.coords and n not in data.dims])
    name = time_name(data)
    if name is None:
        return Part(where, data, None, np.empty(0))
    data = _still(data, where)
    if data[name].dtype.kind in "SU":
        data = data.assign_coords({name: (data[name].dims, written(np.atleast_1d(data[name].values), f"{where}: {name}"))})
    if data[name].ndim == 0:
        fields = [str(key) for key, field in data.data_vars.items() if field.ndim >= 2 and key not in _NOT_FIELDS]
        moved = data[fields].drop_vars(name).expand_dims({name: 1})
        data = data.drop_vars(fields).drop_vars(name).merge(moved, compat="override").assign_coords(
            {name: (name, np.atleast_1d(data[name].values), data[name].attrs)})
    elif data[name].dims[0] != name:  # valid_time along steps of a forecast, XTIME along Time
        along = str(data[name].dims[0])
        data = data.drop_vars([n for n in (along,) if n in data.variables]).swap_dims({along: name})
    return Part(where, data, name, np.atleast_1d(data[name].values))


def _still(data: xr.Dataset, where: object) -> xr.Dataset:
    """Latitudes, longitudes and angles of the grid that are written for every time (WRF's XLAT) once, where all times have the same."""
    for name in STILL & set(map(str, data.variables)):
        one = data[name]
        if one.ndim == 3 and one.sizes[one.dims[0]] > 0:
            with reading(where, f"'{name}'", hint=AGAIN):
                first, last = one[0].load(), one[-1].load()
            if np.allclose(first.values, last.values, rtol=0, atol=SAME, equal_nan=True):
                data = data.drop_vars(name).assign_coords({name: first.drop_vars(list(first.coords)).variable})
    return data


def _alike(parts: list[Part]) -> list[Part]:
    """Names of times and of latitudes and longitudes as the first file has them; a grid that is turned round turned back."""
    time = next((part.time for part in parts if part.time is not None), None)
    axes = next((found for part in parts if (found := _axes(part)) is not None), None)
    result = []
    for part in parts:
        data, own = part.data, _axes(part)
        names = {} if own is None or axes is None else {o: a for o, a in zip(own, axes, strict=True) if o != a}
        if part.time is not None and part.time != time:
            names[part.time] = str(time)
        data = data.rename(names) if names else data
        result.append(Part(part.where, data, time if part.time is not None else None, part.stamps))
    return result


def _axes(part: Part) -> tuple[str, str] | None:
    try:
        found = horizontal(part.data, part.where)
    except OrbitError:
        return None
    return (found.lat, found.lon) if all(part.data[axis].dims == (axis,) for axis in found) else None


def _followed(name: str, parts: list[Part], notes: list[str]) -> tuple[npt.NDArray[Any], xr.DataArray]:
    """(stamps [T] ascending, the field along them) of one variable. Raises OrbitError for files that do not go together."""
    first, time = parts[0], str(parts[0].time)
    fields = []
    for part in parts:
        field = _on_grid_of(first.data[name], part.data[name], name, first.where, part.where)
        for key in ("units", "standard_name"):
            if field.attrs.get(key) != first.data[name].attrs.get(key) and key in field.attrs and key in first.data[name].attrs:
                raise OrbitError(f"'{name}' has other {key} in other files", where=part.where, got=str(field.attrs[key]),
                                 allowed=f"{first.data[name].attrs[key]} as in {_short(first.where)}",
                                 hint="give files of one kind, or convert the others first")  # fmt: skip
        fields.append(field)
    kinds = {_calendar(part.stamps) for part in parts}
    if len(kinds) > 1:
        raise OrbitError(f"times of '{name}' are in several calendars", where=parts[-1].where, got=", ".join(sorted(kinds)),
                         hint="give files of one calendar")  # fmt: skip
    if len(parts) == 1:
        own = first.stamps
        order = np.argsort(own, kind="stable")
        field = fields[0] if (order == np.arange(len(own))).all() else fields[0].isel({time: order})
        return own[order], field
    stamps = np.concatenate([part.stamps for part in parts])
    places = np.concatenate([np.stack([np.full(len(p.stamps), i), np.arange(len(p.stamps))], 1) for i, p in enumerate(parts)])
    order = np.argsort(stamps, kind="stable")
    stamps, places = stamps[order], places[order].astype(np.int64)
    repeated = np.flatnonzero(stamps[1:] == stamps[:-1]) + 1
    if len(repeated):
        _same_fields(name, fields, parts, stamps, places, repeated, time)
        notes.append(f"times: {len(repeated)} of '{name}' are in several files, with the same values; each is taken once")
        keep = np.setdiff1d(np.arange(len(stamps)), repeated)
        stamps, places = stamps[keep], places[keep]
    axis = fields[0].dims.index(time)
    chain = _Chain([field.variable for field in fields], [part.where for part in parts], axis, places)
    variable = xr.Variable(fields[0].dims, indexing.LazilyIndexedArray(chain), fields[0].attrs, fields[0].encoding)
    coords = {key: value for key, value in fields[0].coords.items() if time not in value.dims}
    return stamps, xr.DataArray(variable, coords=coords, name=name)


def _same_fields(
    name: str, fields: Sequence[xr.DataArray], parts: Sequence[Part], stamps: npt.NDArray[Any], places: Index, repeated: Index, time: str
) -> None:
    """Raises OrbitError where two files have other values for one time (a few of these times are read)."""
    for at in np.unique(np.linspace(0, len(repeated) - 1, COMPARED).astype(int)):
        (a, i), (b, j) = places[repeated[at] - 1], places[repeated[at]]
        with reading(f"{parts[a].where} and {parts[b].where}", "data files", hint=AGAIN):
            one, other = fields[a].isel({time: int(i)}).values, fields[b].isel({time: int(j)}).values
        if not np.array_equal(one, other, equal_nan=one.dtype.kind == "f"):
            raise OrbitError(f"two files have different values of '{name}' for one time", where=f"{parts[a].where} and {parts[b].where}",
                             got=str(stamps[repeated[at]])[:19], hint="name only one of them")  # fmt: skip


def _on_grid_of(first: xr.DataArray, field: xr.DataArray, name: str, there: object, where: object) -> xr.DataArray:
    """`field` with the dimensions of `first` in their order, turned round where its rows or columns run the other way."""
    if set(first.dims) != set(field.dims):
        raise OrbitError(f"'{name}' has other dimensions in other files", where=where, got=", ".join(map(str, field.dims)),
                         allowed=f"{', '.join(map(str, first.dims))} as in {_short(there)}", hint="give files of one kind")  # fmt: skip
    field = field if first.dims == field.dims else field.transpose(*first.dims)
    for axis in first.dims:
        if axis not in first.coords or axis not in field.coords or first[axis].dtype.kind not in "iuf":
            if first.sizes[axis] != field.sizes[axis] and not _is_time(first, axis):
                raise _other_grid(name, axis, there, where, first.sizes[axis], field.sizes[axis])
            continue
        if _is_time(first, axis):
            continue
        mine, theirs = (np.asarray(one[axis].values, dtype=np.float64) for one in (first, field))
        if mine.shape == theirs.shape and np.allclose(mine, theirs, rtol=1e-6, atol=SAME):
            continue
        if mine.shape == theirs.shape and np.allclose(mine, theirs[::-1], rtol=1e-6, atol=SAME):
            field = field.isel({axis: slice(None, None, -1)})
            continue
        raise _other_grid(name, axis, there, where, _span(mine), _span(theirs))
    return field


def _is_bounds(part: Part, name: str) -> bool:
    return part.time is not None and name in (part.data[part.time].attrs.get("bounds"), part.data[part.time].encoding.get("bounds"))


def _bounds_of_months(parts: Sequence[Part], common: Times) -> npt.NDArray[Any] | None:
    """[T, 2] The time bounds of months, whose stamps do not tell their lengths (CESM's are the ends of months); None of shorter steps, and
    where a file has none, or two files differ."""
    common = normal(common)
    if common.dtype.kind not in "MO" or len(common) < 2 or not months(float(np.median(steps(common)))):
        return None
    known: dict[Any, npt.NDArray[Any]] = {}
    for part in parts:
        name = part.data[str(part.time)].attrs.get("bounds") or part.data[str(part.time)].encoding.get("bounds")
        rows = part.data[name].values if name in part.data.variables else np.empty(0)
        if rows.shape != (len(part.stamps), 2) or rows.dtype.kind not in "MO":
            return None
        for stamp, row in zip(normal(part.stamps), rows, strict=True):
            if not (known.setdefault(stamp, row) == row).all():
                return None
    return np.stack([known[stamp] for stamp in common])


def _is_time(field: xr.DataArray, axis: Any) -> bool:
    return axis in field.coords and (field[axis].dtype.kind in "MO" or str(axis) == time_name(field.coords.to_dataset()))


def _other_grid(name: str, axis: Any, there: object, where: object, mine: object, theirs: object) -> OrbitError:
    return OrbitError(f"'{name}' lies on different grids ({axis})", where=where, got=str(theirs), allowed=f"{mine} as in {_short(there)}",
                      hint="name files of one grid")  # fmt: skip


def _span(values: npt.NDArray[Any]) -> str:
    return f"{len(values)} values {values[0]:g} to {values[-1]:g}" if len(values) else "nothing"


def _once(name: str, parts: list[Part]) -> xr.DataArray:
    """A field without times: that of the first file, where all others have the same."""
    first = parts[0].data[name]
    for part in parts[1:]:
        other = part.data[name]
        if other.shape != first.shape or other.dims != first.dims:
            raise _other_grid(name, ", ".join(map(str, first.dims)), parts[0].where, part.where, first.shape, other.shape)
    if len(parts) > 1 and all(part.time is None for part in parts) and first.ndim >= 2:
        raise OrbitError(f"several files hold '{name}', and none says its time", where=f"{parts[0].where} and {parts[1].where}",
                         hint="give them times, or name one file and say --time")  # fmt: skip
    return first


def _common(timed: Mapping[str, tuple[npt.NDArray[Any], xr.DataArray]], notes: list[str]) -> npt.NDArray[Any]:
    """The times that all variables have. Raises OrbitError where there are none."""
    if not timed:
        return np.empty(0)
    stamps = [found for found, _ in timed.values()]
    common = stamps[0]
    for other in stamps[1:]:
        common = np.intersect1d(common, other)
    if not len(common):
        spans = "; ".join(f"{name} {str(found[0])[:19]} to {str(found[-1])[:19]}" for name, (found, _) in timed.items() if len(found))
        raise OrbitError("the variables have no time in common", where="times", got=spans, hint="name files of the same times")
    for name, (found, _) in timed.items():
        if len(found) > len(common):
            notes.append(f"times: {len(found) - len(common)} of {len(found)} of '{name}' are left out: other variables lack them")
    return common


def _with(merged: xr.Dataset, name: str, field: xr.DataArray) -> xr.Dataset:
    """`merged` with one more field. A level or height of the same name but another value gets a number: each field keeps its own."""
    renamed = {}
    for key, coordinate in field.coords.items():
        if key in merged.coords and not _same(merged[key], coordinate):
            if coordinate.ndim == 1 and key in field.dims and horizontal_name(str(key)):
                raise OrbitError(f"the fields lie on different grids ({key})", where=name, got=_span(np.asarray(coordinate.values)),
                                 allowed=_span(np.asarray(merged[key].values)), hint="name fields of one grid")  # fmt: skip
            renamed[key] = next(f"{key}{i}" for i in range(2, 1000) if f"{key}{i}" not in merged.variables)
    field = field.rename(renamed) if renamed else field
    field.encoding = {**field.encoding, "coordinates": " ".join(str(key) for key in field.coords if key not in field.dims)}
    try:
        return merged.assign({name: field})
    except ValueError as error:
        text = " ".join(str(error).split())[:120]
        raise OrbitError(f"the fields lie on different grids ({text})", where=name, hint="name fields of one grid") from None


def horizontal_name(name: str) -> bool:
    return name.lower() in ("lat", "lon", "latitude", "longitude", "x", "y", "rlat", "rlon", "long")


def _same(one: xr.DataArray, other: xr.DataArray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "iuf" and other.dtype.kind in "iuf":
        return bool(np.allclose(one.values, other.values, rtol=1e-6, atol=SAME, equal_nan=True))
    return bool((np.asarray(one.values) == np.asarray(other.values)).all())


def _shared(attributes: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Attributes that all files have alike; of the history and the title the first file's."""
    first = attributes[0]
    own = ("history", "title", "Conventions")
    return {key: value for key, value in first.items() if key in own or all(
        key in other and np.array_equal(other[key], value) for other in attributes[1:])}  # fmt: skip


def _calendar(stamps: npt.NDArray[Any]) -> str:
    first = stamps.flat[0] if stamps.size else None
    return str(getattr(first, "calendar", "")) or {"M": "standard"}.get(stamps.dtype.kind, f"numbers ({stamps.dtype.kind})")


def _short(where: object) -> str:
    return str(getattr(where, "name", where))
