"""Where a field lies on the sphere, as tensors, and padding that respects it. Never reads files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from orbit2.areas import relative_areas
from orbit2.grid import AnyGrid, Grid
from orbit2.model.tiles import Window
from orbit2.model.to_device import to_device

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Geometry:
    """Coarse cell centres of each sample of a batch and the two resolutions.

    lat [B, H] and lon [B, W] in degrees, or both [B, H, W] where the rows are no parallels: then with the relative `areas` of the fine
    cells [B, sH, sW]. `periodic` when the rows close around the globe. `dataset`: whose fields they are, where the model was trained on it.
    """

    lat: Tensor
    lon: Tensor
    coarse_km: float
    fine_km: float
    periodic: bool
    areas: Tensor | None = None
    dataset: str = ""

    @classmethod
    def of(cls, coarse: AnyGrid, refinement: int, batch: int = 1, device: torch.device | str = "cpu") -> Geometry:
        known = (*centres(coarse), fine_areas(coarse.refine(refinement)))
        tensors = [None if each is None else torch.as_tensor(np.array(each, dtype=np.float32), device=device) for each in known]
        lat, lon, areas = (None if each is None else each.expand(batch, *each.shape) for each in tensors)
        assert lat is not None and lon is not None
        return cls(lat, lon, coarse.km, coarse.km / refinement, coarse.periodic, areas)

    @property
    def shape(self) -> tuple[int, int]:
        """Coarse rows and columns."""
        return self.lat.shape[1], self.lon.shape[-1]

    def expand(self, count: int) -> Geometry:
        """The same for each of `count` samples."""
        lat, lon, areas = (None if each is None else each.expand(count, *each.shape[1:]) for each in (self.lat, self.lon, self.areas))
        assert lat is not None and lon is not None
        return replace(self, lat=lat, lon=lon, areas=areas)

    def repeat(self, count: int) -> Geometry:
        """Each sample `count` times, one after the other."""
        lat, lon, areas = (None if each is None else each.repeat_interleave(count, 0) for each in (self.lat, self.lon, self.areas))
        assert lat is not None and lon is not None
        return self if count == 1 else replace(self, lat=lat, lon=lon, areas=areas)

    def one(self, k: int) -> Geometry:
        """That of sample `k` alone."""
        areas = None if self.areas is None else self.areas[k : k + 1]
        return replace(self, lat=self.lat[k : k + 1], lon=self.lon[k : k + 1], areas=areas)

    def to(self, device: torch.device | str) -> Geometry:
        areas = None if self.areas is None else to_device(self.areas, device)
        return replace(self, lat=to_device(self.lat, device), lon=to_device(self.lon, device), areas=areas)


def centres(grid: AnyGrid) -> tuple[Array, Array]:
    """Latitudes and longitudes of cell centres as `Geometry` has them: [H] and [W], or [H, W] each."""
    return (grid.lat, grid.lon) if isinstance(grid, Grid) else (grid.lat2d, grid.lon2d)


def fine_areas(fine: AnyGrid) -> Array | None:
    """Relative areas [sH, sW] where `Geometry` needs them: its mean is 1, so that half precision holds them."""
    areas = relative_areas(fine)
    return None if areas.ndim == 1 else areas / areas.mean()


def pad(fields: Tensor, north: int, east: int, periodic: bool, south: int = 0, west: int = 0) -> Tensor:
    """Pad [..., H, W]: latitude replicates its edge rows, longitude wraps when periodic and replicates otherwise.

    Row 0 is the southernmost.
    """
    if not (north or south or east or west):
        return fields
    flat = fields.reshape(-1, 1, *fields.shape[-2:])
    if periodic and (east or west):
        flat = F.pad(flat, (west, east, 0, 0), mode="circular")
        west = east = 0
    if north or south or east or west:
        flat = F.pad(flat, (west, east, south, north), mode="replicate")
    return flat.reshape(*fields.shape[:-2], *flat.shape[-2:])


def valueless(tensor: Tensor) -> bool:
    """Whether it has a shape and no values: on the meta device, or torch's FakeTensor."""
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def complete(fields: Tensor) -> bool:
    """Whether no value is missing (tensors without data, on the meta device, count as complete)."""
    return valueless(fields) or bool(finite_sums(fields))


def finite_sums(fields: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Whether all values along `dims` (None = all) are finite, by one look at each: a sum is as missing as what it is of. Twenty times as
    fast as asking every value. Where a float32 cannot hold a sum, something counts as missing."""
    return torch.isfinite(fields.sum(dims, dtype=torch.promote_types(fields.dtype, torch.float32)))


def select(values: Tensor, chosen: Sequence[int], dim: int) -> Tensor:
    """`values` at the positions `chosen` along `dim`, without an index tensor: that would be a copy from the host on every call."""
    if list(chosen) == list(range(values.shape[dim])):
        return values
    if not chosen:
        return values.narrow(dim, 0, 0)
    return torch.stack([values.select(dim, i) for i in chosen], dim)


def to_multiple(size: int, patch: int) -> int:
    """Cells to add so that `size` is a multiple of `patch`."""
    return -size % patch


def token_centres(geometry: Geometry, patch: int) -> Tensor:
    """Unit vectors of the patch centres [B, h, w, 3], with h = ceil(H / p), w = ceil(W / p)."""
    lat, lon = geometry.lat, geometry.lon
    rows, columns = (to_multiple(size, patch) for size in geometry.shape)
    if lat.ndim == 3:
        return _token_centres_2d(lat, lon, rows, columns, patch)
    if rows:
        lat = torch.cat([lat, lat[:, -1:].expand(-1, rows)], 1)
    if columns:
        lon = torch.cat([lon, lon[:, :columns] if geometry.periodic else lon[:, -1:].expand(-1, columns)], 1)
    lat, lon = torch.deg2rad(lat), torch.deg2rad(lon)
    z = _patch_means(torch.sin(lat), patch)
    x = _patch_means(torch.cos(lon), patch)
    y = _patch_means(torch.sin(lon), patch)
    norm = torch.sqrt(x * x + y * y).clamp_min(1e-6)
    x, y = x / norm, y / norm
    radius = torch.sqrt((1 - z * z).clamp_min(0))
    shape = (*z.shape, x.shape[1])
    return torch.stack(
        [
            (radius[:, :, None] * x[:, None, :]).expand(shape),
            (radius[:, :, None] * y[:, None, :]).expand(shape),
            z[:, :, None].expand(shape),
        ],
        -1,
    )


def _token_centres_2d(lat: Tensor, lon: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """The same of centres [B, H, W]: the mean of a patch's unit vectors, of unit length."""
    lat, lon = torch.deg2rad(lat), torch.deg2rad(lon)
    vectors = torch.stack([torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)], 1)
    means = F.avg_pool2d(pad(vectors, rows, columns, False), patch).permute(0, 2, 3, 1)
    return F.normalize(means, dim=-1)


def _patch_means(values: Tensor, patch: int) -> Tensor:
    """[B, n p] -> [B, n]."""
    return values.view(len(values), -1, patch).mean(2)


def of_window(grid: AnyGrid, window: Window, factor: int) -> tuple[Geometry, Tensor]:
    """Of a window of `grid`, and the relative areas of its fine cells: [sh] of rows, or [sh, sw]."""
    if not isinstance(grid, Grid):
        part = grid.crop(*(slice(int(index[0]), int(index[-1]) + 1) for index in (window.rows, window.columns)))
        geometry = Geometry.of(part, factor)
        assert geometry.areas is not None
        return replace(geometry, coarse_km=grid.km, fine_km=grid.km / factor), geometry.areas[0]
    lat, lon = (torch.from_numpy(each).float()[None] for each in (grid.lat[window.rows], grid.lon[window.columns]))
    weights = torch.from_numpy(grid.refine(factor).lat_weights).float()[torch.from_numpy(window.fine(factor)[0])]
    return Geometry(lat, lon, grid.km, grid.km / factor, window.periodic), weights
