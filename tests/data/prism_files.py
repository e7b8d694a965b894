"""Writes PRISM's zips as the provider makes them, from arrays: BIL (before 2025, names with the stability) and COG (since 2025).

BIL, header and side files are written byte by byte after real ones; the GeoTIFF by GDAL's COG driver. Never imports orbit2.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

_PRJ = ('GEOGCS["GCS_North_American_1983",DATUM["D_North_American_1983",SPHEROID["GRS_1980",6378137.0,298.257222101]],'
        'PRIMEM["Greenwich",0.0],UNIT["Degree",0.017453292519943295]]\n')
_DATE = (2019, 10, 21, 18, 41, 0)
NODATA = -9999.0


@dataclass(frozen=True)
class Window:
    """A part of PRISM's grid. `south`, `west`: centre of its corner cell, in degrees, as multiples of 1 / per_degree."""

    south: float = 24 + 2 / 24
    west: float = -125.0
    rows: int = 621
    columns: int = 1405
    per_degree: int = 24  # 120: 800 m

    @property
    def lat(self) -> npt.NDArray[np.float64]:
        return (round(self.south * self.per_degree) + np.arange(self.rows)) / self.per_degree

    @property
    def lon(self) -> npt.NDArray[np.float64]:
        """-180 to 180, as the provider counts."""
        return (round(self.west * self.per_degree) + np.arange(self.columns)) / self.per_degree


CONUS = Window()


def write_bil_zip(
    path: Path, element: str, day: str, values: npt.NDArray[np.floating], *, window: Window = CONUS, stability: str = "stable",
    nodata: float = NODATA, header: dict[str, str] | None = None,
) -> Path:
    """`values` [lat ascending, lon] in mm or degC, NaN where missing, of `day` (YYYYMMDD), as a zip of before 2025.

    `nodata` is what missing cells become (clipped files have -3.4e38 there); `header` replaces lines of the header.
    """
    size = "4kmD2" if window.per_degree == 24 else "800mD2"
    stem = f"PRISM_{element}_{stability}_{size}_{day}_bil"
    field = _northward_down(values, window, nodata)
    step = f"{1 / window.per_degree:.13f}".rstrip("0")  # 0.0416666666667: rounded, as the provider's
    lines = {
        "BYTEORDER": "I", "LAYOUT": "BIL", "NROWS": str(window.rows), "NCOLS": str(window.columns), "NBANDS": "1", "NBITS": "32",
        "BANDROWBYTES": str(4 * window.columns), "TOTALROWBYTES": str(4 * window.columns), "PIXELTYPE": "FLOAT",
        "ULXMAP": f"{window.lon[0]:.13g}", "ULYMAP": f"{window.lat[-1]:.15g}", "XDIM": step, "YDIM": step,
        "NODATA": "-9999"} | (header or {})
    members = {
        f"{stem}.bil": field.tobytes(),
        f"{stem}.hdr": "".join(f"{key:<15}{value}\n" for key, value in lines.items()).encode(),
        f"{stem}.prj": _PRJ.encode(), f"{stem}.bil.aux.xml": _statistics(values).encode(), f"{stem}.stx": _stx(values).encode(),
        f"{stem}.info.txt": _info(element, day, "20150517").encode(), f"{stem}.stn.csv": b"Station,Name\n",
        f"{stem}.xml": _xml(element, day).encode()}
    return _zipped(path, members)


def write_cog_zip(
    path: Path, element: str, day: str, values: npt.NDArray[np.floating], *, window: Window = CONUS, region: str = "us",
    created: str = "20250301", nodata: float = NODATA,
) -> Path:
    """The same as a zip of since 2025: prism_ppt_us_25m_20200101.tif inside, made on `created` (YYYYMMDD)."""
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    stem = f"prism_{element}_{region}_{'25m' if window.per_degree == 24 else '30s'}_{day}"
    half, step = 0.5 / window.per_degree, 1 / window.per_degree
    with tempfile.TemporaryDirectory() as folder:
        plain, cog = Path(folder) / "plain.tif", Path(folder) / "cog.tif"
        with rasterio.open(plain, "w", driver="GTiff", height=window.rows, width=window.columns, count=1, dtype="float32", crs="EPSG:4269",
                           nodata=nodata, transform=from_origin(window.lon[0] - half, window.lat[-1] + half, step, step)) as out:
            out.write(_northward_down(values, window, nodata), 1)
        copy(plain, cog, driver="COG", compress="DEFLATE")
        content = cog.read_bytes()
    return _zipped(path, {
        f"{stem}.tif": content, f"{stem}.tif.aux.xml": _statistics(values).encode(), f"{stem}.prj": _PRJ.encode(),
        f"{stem}.stx": _stx(values).encode(), f"{stem}.info.txt": _info(element, day, created).encode(),
        f"{stem}.stn.csv": b"Station,Name\n", f"{stem}.xml": _xml(element, day).encode()})


def _northward_down(values: npt.NDArray[np.floating], window: Window, nodata: float) -> npt.NDArray[np.float32]:
    assert values.shape == (window.rows, window.columns), f"values {values.shape}, window {window}"
    return np.ascontiguousarray(np.where(np.isfinite(values), values, nodata)[::-1], dtype="<f4")


def _numbers(values: npt.NDArray[np.floating]) -> tuple[float, float, float, float]:
    held = values[np.isfinite(values)]
    return (held.min(), held.max(), held.mean(), held.std()) if held.size else (0.0, 0.0, 0.0, 0.0)


def _stx(values: npt.NDArray[np.floating]) -> str:
    return "1 " + " ".join(f"{number:.10f}" for number in _numbers(values)) + "\n"


def _statistics(values: npt.NDArray[np.floating]) -> str:
    low, high, mean, spread = _numbers(values)
    return ('<PAMDataset>\n  <PAMRasterBand band="1">\n    <NoDataValue>-9.99900000000000E+03</NoDataValue>\n    <Metadata>\n'
            f'      <MDI key="STATISTICS_MAXIMUM">{high:.12f}</MDI>\n      <MDI key="STATISTICS_MEAN">{mean:.14f}</MDI>\n'
            f'      <MDI key="STATISTICS_MINIMUM">{low:.12f}</MDI>\n      <MDI key="STATISTICS_STDDEV">{spread:.14f}</MDI>\n'
            "    </Metadata>\n  </PAMRasterBand>\n</PAMDataset>\n")


def _info(element: str, day: str, created: str) -> str:
    return (f"PRISM_DATASET_FILENAME: adj_cai_{element}_us_us_30s_{day}.bil\nPRISM_DATASET_CREATE_DATE: {created}\n"
            "PRISM_DATASET_TYPE: an81/r1503\nPRISM_DATASET_VERSION: D2\nPRISM_CODE_VERSION: 16.1-20161010-1224\n")


def _xml(element: str, day: str) -> str:
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<metadata><idinfo><timeperd><timeinfo><rngdates><begdate>{day}</begdate>'
            f"<enddate>{day}</enddate></rngdates></timeinfo></timeperd><keywords><theme><themekey>{element}</themekey></theme>"
            "</keywords></idinfo></metadata>\n")


def _zipped(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path
