"""ln(1 + x) and e^x - 1 of whole arrays, many cells at a time. Never changes what is missing.

NumPy's own take one cell after the other, 8 to 10 ns each, against 0.5 to 1.5. Right to the last digits of the result, as those are.
Reduction and series as in fdlibm (Sun Microsystems, 1993).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import INFINITY, exact

Values = npt.NDArray[Any]  # float32 or float64
LN2, LN2_REST = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # ln 2 in two parts: the first times a whole number is exact
PER_LN2 = 1.4426950408889634
WHOLE = 6755399441055744.0  # 1.5 x 2^52: added, a number is rounded to a whole one, which is then its last bits
HIGHEST = 700.0  # e^x is a number up to 709
ROOT_HALF, ROOT_HALF_SINGLE = np.uint64(0x3FE6A09E667F3BCD), np.uint32(0x3F3504F3)  # the bits of sqrt(1/2)
TWO_52, TWO_52_BITS = 4503599627370496.0, np.uint64(0x4330000000000000)
F1 = np.float32
Cell = Callable[[Any], Any]


def log1p(values: Values, out: Values | None = None) -> Values:
    """ln(1 + x) of `values`, 0 where they are negative, in their precision, into `out` (theirs in shape and kind; may be `values`)."""
    return _each(_single if values.dtype == np.float32 and (out is None or out.dtype == np.float32) else _double, values, out)


def expm1(values: Values, out: Values | None = None) -> Values:
    """e^x - 1 of `values`, of at most e^700, computed in double precision, into `out` (theirs in shape; may be `values`)."""
    return _each(_less_one, values, out)


def _each(cell: Cell, values: Values, out: Values | None) -> Values:
    apart, inside = _LOOPS[cell]
    if out is None or not out.flags.c_contiguous:
        given = np.ascontiguousarray(values)
        made = np.empty_like(given)
        apart(given.reshape(-1), made.reshape(-1))
        if out is None:
            return made
        out[...] = made
    elif out is values:
        inside(out.reshape(-1))
    else:
        apart(np.ascontiguousarray(values).reshape(-1), out.reshape(-1))
    return out


@exact("f8")
def _double(value: float) -> float:
    """1 + x = 2^k m with m about 1: k ln 2 + 2 atanh(f / (2 + f)), f = m - 1."""
    v = np.float64(value)
    x = 0.0 if v < 0.0 else v
    y = np.float64(x + 1.0)
    bits = y.view(np.uint64)
    power = np.uint64(bits - ROOT_HALF) >> np.uint64(52)
    f = np.uint64(bits - (power << np.uint64(52))).view(np.float64) - 1.0
    f = np.float64(x) if power == 0 else f  # what was lost of a small x in 1 + x
    k = np.uint64(power | TWO_52_BITS).view(np.float64) - TWO_52
    s = np.divide(f, 2.0 + f)  # `/` asks whether it divides by 0, one cell at a time
    z = s * s
    p = 1 / 21
    p = p * z + 1 / 19
    p = p * z + 1 / 17
    p = p * z + 1 / 15
    p = p * z + 1 / 13
    p = p * z + 1 / 11
    p = p * z + 1 / 9
    p = p * z + 1 / 7
    p = p * z + 1 / 5
    p = p * z + 1 / 3
    found: float = k * LN2 + (2 * s + (2 * s * (p * z) + k * LN2_REST))
    return found if y < INFINITY else y


@exact("f4")
def _single(value: Any) -> Any:
    """The same with a shorter series, to 2e-7 of the result."""
    v = F1(value)
    x = F1(0) if v < F1(0) else v
    y = F1(x + F1(1))
    bits = y.view(np.uint32)
    power = np.uint32(bits - ROOT_HALF_SINGLE) >> np.uint32(23)
    f = np.uint32(bits - np.uint32(power << np.uint32(23))).view(np.float32) - F1(1)
    f = x if power == 0 else f
    k = F1(np.int32(power))
    s = np.divide(f, F1(2) + f)
    z = s * s
    p = F1(1 / 9)
    p = p * z + F1(1 / 7)
    p = p * z + F1(1 / 5)
    p = p * z + F1(1 / 3)
    found = k * F1(0.6931471805599453) + (s + s + (s + s) * (p * z))
    return found if y < INFINITY else y


@exact("f8")
def _less_one(value: float) -> float:
    """x = n ln 2 + r: 2^n (e^r - 1) + 2^n - 1, by the series of e^r - 1."""
    v = np.float64(value)
    x = HIGHEST if v > HIGHEST else v
    x = -HIGHEST if x < -HIGHEST else x
    shifted = np.float64(x * PER_LN2 + WHOLE)
    n = shifted - WHOLE
    scale = np.int64((shifted.view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    r = (x - n * LN2) - n * LN2_REST
    p = 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r * r + r
    return p * scale + (scale - 1.0)


@exact("f8[::1], f8[::1]")
def _double_apart(values: Values, out: Values) -> None:
    for j in range(len(values)):
        out[j] = _double(values[j])


@exact()
def _double_inside(out: Values) -> None:
    """In place: where two arrays are one, a compiled loop takes one cell at a time."""
    for j in range(len(out)):
        out[j] = _double(out[j])


@exact("f4[::1], f4[::1]")
def _single_apart(values: Values, out: Values) -> None:
    for j in range(len(values)):
        out[j] = _single(values[j])


@exact()
def _single_inside(out: Values) -> None:
    for j in range(len(out)):
        out[j] = _single(out[j])


@exact()
def _less_one_apart(values: Values, out: Values) -> None:
    for j in range(len(values)):
        out[j] = _less_one(values[j])


@exact("f8[::1]")
def _less_one_inside(out: Values) -> None:
    for j in range(len(out)):
        out[j] = _less_one(out[j])


_LOOPS: dict[Cell, tuple[Callable[[Values, Values], None], Callable[[Values], None]]] = {
    _double: (_double_apart, _double_inside),
    _single: (_single_apart, _single_inside),
    _less_one: (_less_one_apart, _less_one_inside),
}
