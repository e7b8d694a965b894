"""Fields as int16: one linear scale per variable over its valid range; what is seen as ln(1 + x) (precipitation) in that, where 0 stays
exactly 0. Fractions whose logit a network sees are packed as they are: both ends are codes of their own, and no step is wider elsewhere.
Never clips: a value outside its variable's range is an error. Missing is -32768."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.variables import BUILT_IN, VARIABLES, variable

if TYPE_CHECKING:  # stages that only write stores need not load torch
    import torch

VERSION = "int16-1"
MISSING = -32768
GREATEST = 32767  # codes run from -GREATEST (low end of the range) to GREATEST (high end)
LOGARITHM = "ln(1 + x)"
LINEAR = "x"
FloatArray = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int16]


class ErrorBound(NamedTuple):
    """Greatest error of a stored value: `absolute` in `units` (for precipitation at x = 0, and times 1 + x elsewhere)."""

    absolute: float
    units: str
    text: str


@dataclass(frozen=True)
class Packing:
    """How one variable becomes int16: codes are equal steps of `transform` between the ends of its valid range [units]."""

    name: str
    transform: str
    low: float
    high: float

    @property
    def logarithmic(self) -> bool:
        return self.transform == LOGARITHM

    @cached_property
    def ends(self) -> tuple[float, float]:
        """The range in transformed space."""
        return (float(np.log1p(self.low)), float(np.log1p(self.high))) if self.logarithmic else (self.low, self.high)

    @cached_property
    def step(self) -> float:
        return (self.ends[1] - self.ends[0]) / (2 * GREATEST)

    @property
    def middle(self) -> float:
        """What code 0 stands for, in transformed space."""
        return (self.ends[0] + self.ends[1]) / 2

    def attributes(self) -> dict[str, Any]:
        """CF packing: transformed = code * scale_factor + add_offset."""
        return {
            "scale_factor": self.step,
            "add_offset": self.middle,
            "_FillValue": MISSING,
            "transform": self.transform,
            "valid_range": [self.low, self.high],
            "error": error_bound(self.name).text if self.name in VARIABLES else "",
        }


def packing_of(name: str) -> Packing:
    """The packing of a canonical variable. Raises OrbitError for an unknown name."""
    known = variable(name)
    return Packing(name, LOGARITHM if known.transform == "log1p" else LINEAR, float(known.valid[0]), float(known.valid[1]))


def from_attributes(name: str, attributes: Mapping[str, Any]) -> Packing:
    """The packing a store was written with, which may differ from today's table."""
    low, high = attributes["valid_range"]
    return Packing(name, str(attributes["transform"]), float(low), float(high))


def pack(values: FloatArray, names: Sequence[str]) -> Codes:
    """int16 codes of physical fields [..., V, H, W] float32, NaN = missing.

    Raises OrbitError naming variable, value and range when a value lies outside (also infinite values).
    """
    if values.ndim < 3 or values.shape[-3] != len(names):
        raise OrbitError("fields do not match their names", where="pack", got=values.shape, allowed=f"[..., {len(names)}, lat, lon]",
                         hint="give as many fields as names")  # fmt: skip
    codes = np.empty(values.shape, dtype=np.int16)
    for index in np.ndindex(values.shape[:-2]):
        codes[index] = _pack_plane(values[index], packing_of(names[index[-1]]))
    return codes


def _pack_plane(plane: FloatArray, packing: Packing) -> Codes:
    missing = np.isnan(plane)
    if missing.all():
        return np.full(plane.shape, MISSING, dtype=np.int16)
    least, greatest = float(np.fmin.reduce(plane, axis=None)), float(np.fmax.reduce(plane, axis=None))
    # A decoded end of the range may lie a few float32 units beyond it: it is stored again as what it was.
    slack = 16 * float(np.spacing(np.float32(max(abs(packing.low), abs(packing.high)))))
    below = 0.0 if packing.logarithmic else slack  # a negative rain is never rounding
    if not (least >= packing.low - below and greatest <= packing.high + slack):
        outside = greatest if greatest > packing.high + slack else least
        raise OrbitError(
            "value outside the variable's valid range",
            where=packing.name,
            got=f"{outside:g} {variable(packing.name).units}",
            allowed=f"{packing.low:g} to {packing.high:g}",
            hint="wrong units, or a fault in the source",
        )
    exact = plane.astype(np.float64)
    if packing.logarithmic:
        np.log1p(exact, out=exact)
    exact -= packing.ends[0]
    exact /= packing.step
    np.rint(exact, out=exact)
    exact -= GREATEST
    np.clip(exact, -GREATEST, GREATEST, out=exact)  # only the slack above
    exact[missing] = MISSING
    return exact.astype(np.int16)


@overload
def unpack(codes: Codes, names: Sequence[str | Packing], out: FloatArray | None = None) -> FloatArray: ...
@overload
def unpack(codes: torch.Tensor, names: Sequence[str | Packing]) -> torch.Tensor: ...
def unpack(
    codes: Codes | torch.Tensor, names: Sequence[str | Packing], out: FloatArray | None = None
) -> FloatArray | torch.Tensor:
    """Physical float32 fields of int16 codes [..., V, H, W], NaN where missing; a tensor stays on its device.

    `names` are canonical names, or Packings as a store recorded them. `out` receives the result of an array.
    """
    packings = tuple(packing_of(n) if isinstance(n, str) else n for n in names)
    if codes.ndim < 3 or codes.shape[-3] != len(packings):
        raise OrbitError("fields do not match their names", where="unpack", got=tuple(codes.shape),
                         allowed=f"[..., {len(packings)}, lat, lon]", hint="give as many names as fields")  # fmt: skip
    if not isinstance(codes, np.ndarray):
        import torch

        return unpack_into(codes, packings, torch.empty(codes.shape, dtype=torch.float32, device=codes.device))
    values = np.empty(codes.shape, dtype=np.float32) if out is None else out
    for index in np.ndindex(codes.shape[:-2]):
        _unpack_plane(codes[index], packings[index[-1]], values[index])
    return values


def _unpack_plane(codes: Codes, packing: Packing, out: FloatArray) -> None:
    np.copyto(out, codes)
    if packing.logarithmic:
        out += np.float32(GREATEST)  # exact in float32, so the lowest code gives exactly 0
        out *= np.float32(packing.step)
        if packing.ends[0]:
            out += np.float32(packing.ends[0])
        np.expm1(out, out=out)
    else:
        out *= np.float32(packing.step)
        out += np.float32(packing.middle)
    if out.size and codes.min() == MISSING:
        out[codes == MISSING] = np.nan


@lru_cache(maxsize=32)
def _constants(packings: tuple[Packing, ...], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Step and middle [V, 1, 1] on the device."""
    import torch

    step, middle = ([getattr(p, what) for p in packings] for what in ("step", "middle"))
    return tuple(torch.tensor(values, dtype=torch.float32, device=device)[:, None, None] for values in (step, middle))  # type: ignore[return-value]


def unpack_into(codes: torch.Tensor, packings: Sequence[Packing], out: torch.Tensor, gaps: Sequence[bool] | None = None) -> torch.Tensor:
    """`unpack` of [..., V, H, W] into float32 `out` on the same device, without waiting for it; `gaps` [V]: where anything is missing."""
    import torch

    step, middle = _constants(tuple(packings), codes.device)
    out.copy_(codes)
    out.mul_(step).add_(middle)
    for i, packing in enumerate(packings):
        plane = out[..., i, :, :]
        if packing.logarithmic:
            plane.copy_(codes[..., i, :, :])
            plane.add_(GREATEST).mul_(packing.step).add_(packing.ends[0])
            torch.expm1(plane, out=plane)
        if gaps is None or gaps[i]:
            plane.masked_fill_(codes[..., i, :, :] == MISSING, torch.nan)
    return out


def error_bound(name: str) -> ErrorBound:
    """The greatest error of a stored value of `name`, float32 rounding of the decoded value included."""
    packing, units = packing_of(name), variable(name).units
    if packing.logarithmic:  # float32 rounds ln(1 + x) <= 9.3 to 5e-7, and expm1 to 1e-6 of its result
        bound = float(np.expm1(packing.step / 2)) + 1.5e-6 * min(1.0, packing.ends[1])
        return ErrorBound(bound, units, f"{_rounded_up(bound)} x (1 + x) {units}; 0 is stored exactly")
    bound = packing.step / 2 + float(np.spacing(np.float32(max(abs(packing.low), abs(packing.high)))))
    return ErrorBound(bound, units, f"{_rounded_up(bound)} {units}")


def _rounded_up(value: float) -> str:
    """Two significant digits, never less than the value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit) * unit:.2g}"


def greatest_error(values: FloatArray, names: Sequence[str]) -> FloatArray:
    """The error bound of every element of physical fields [..., V, H, W], in their units."""
    bounds = np.array([error_bound(n).absolute for n in names], dtype=np.float32)[:, None, None]
    logarithmic = np.array([packing_of(n).logarithmic for n in names])[:, None, None]
    return cast(FloatArray, (bounds * np.where(logarithmic, 1 + np.abs(values), 1)).astype(np.float32))


def describe(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The packing of each variable, as written into a store."""
    return {name: packing_of(name).attributes() for name in names}


def digest_codes(codes: Codes) -> str:
    """sha256 of int16 codes (little endian, C order)."""
    return hashlib.sha256(np.ascontiguousarray(codes, dtype="<i2").data).hexdigest()


def digest(values: FloatArray, names: Sequence[str]) -> str:
    """What `PairStore.digest` will say of these physical fields once they are stored."""
    return digest_codes(pack(values, names))


def table() -> str:
    """Markdown table of every built-in dynamic variable's range, step and error bound, for the documentation."""
    rows = ["| variable | units | range | packed as | step | greatest error |", "|---|---|---|---|---|---|"]
    for name, known in BUILT_IN.items():
        if known.kind != "static":
            packing = packing_of(name)
            rows.append(f"| `{name}` | {known.units} | {packing.low:g} to {packing.high:g} | {packing.transform} | {packing.step:.2g} "
                        f"| {error_bound(name).text} |")
    return "\n".join(rows)
