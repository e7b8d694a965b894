"""GRIB 1 messages as ERA5 has them, made with ecCodes from its own sample."""

from __future__ import annotations

from typing import Any

import numpy as np


def message(code: int, level: int | None, time: np.datetime64, lat: np.ndarray, lon: np.ndarray, values: np.ndarray) -> bytes:
    """One field [H, W], latitude from north to south. Fields of forecasts (accumulations, extremes) carry a range of one hour."""
    import eccodes

    handle: Any = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib1" if level is None else "regular_ll_pl_grib1")
    try:
        ranged = {228: "accum", 201: "max", 202: "min"}.get(code)
        start = time - np.timedelta64(1, "h") if ranged else time
        stamp = str(start.astype("datetime64[m]"))
        keys: dict[str, Any] = {
            "centre": "ecmf", "table2Version": 128, "indicatorOfParameter": code, "dataDate": int(stamp[:10].replace("-", "")),
            "dataTime": int(stamp[11:13]) * 100, "Ni": lon.size, "Nj": lat.size,
            "latitudeOfFirstGridPointInDegrees": float(lat[0]), "latitudeOfLastGridPointInDegrees": float(lat[-1]),
            "longitudeOfFirstGridPointInDegrees": float(lon[0]), "longitudeOfLastGridPointInDegrees": float(lon[-1]),
            "iDirectionIncrementInDegrees": float(lon[1] - lon[0]), "jDirectionIncrementInDegrees": float(lat[0] - lat[1]),
            "bitsPerValue": 16, "class": "ea", "stream": "oper", "type": "fc" if ranged else "an", "expver": "0001"}
        if level is not None:
            keys["level"] = level
        if ranged:
            keys |= {"timeRangeIndicator": 4 if ranged == "accum" else 2, "P1": 0, "P2": 1, "stepUnits": 1}
        for key, value in keys.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set_values(handle, np.asarray(values, dtype=np.float64).ravel())
        return bytes(eccodes.codes_get_message(handle))
    finally:
        eccodes.codes_release(handle)
