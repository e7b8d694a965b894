"""The `sources` section: where providers' files come from and how politely. Credentials never stand here: clients find their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from orbit2.config.base import Machine, Place, Strict
from orbit2.errors import OrbitError, one_of

SourceName = Literal["sample", "era5", "prism", "daymet", "imerg", "synthetic", "files", "coarse_files"]


@dataclass(frozen=True)
class Traits:
    """What is always so about a source, whatever the configuration: every stage asks here, none asks for a name.

    `section`: the part of `sources` that it is built from. `step_hours`: between the stamps of its files (0: no time).
    `packaged`: it ships with orbit2, and its times are known. `shared`: one file may hold several variables and any box, so that
    files of other requests can answer too. `synthetic`: no observation and no weather; never mixed with what is.
    `adopted`: the user's own files, which a dataset names itself (`files`).
    """

    section: str
    step_hours: int
    packaged: bool = False
    shared: bool = False
    synthetic: bool = False
    adopted: bool = False

    @property
    def hourly(self) -> bool:
        return self.step_hours == 1


TRAITS = {
    "sample": Traits("era5", 1, packaged=True),  # it is real ERA5
    "era5": Traits("era5", 1, shared=True),
    "prism": Traits("prism", 24),
    "daymet": Traits("daymet", 24),
    "imerg": Traits("imerg", 24),
    "synthetic": Traits("synthetic", 24, synthetic=True),
    "static": Traits("static", 0),
    "files": Traits("files", 24, adopted=True),
    "coarse_files": Traits("files", 24, adopted=True),
}


def traits(source: str) -> Traits:
    """Raises OrbitError for an unknown source."""
    if source not in TRAITS:
        raise OrbitError("no such source", where="source", got=source, allowed=", ".join(TRAITS), hint=one_of(source, TRAITS))
    return TRAITS[source]


def synthetic(sources: Iterable[str]) -> bool:
    """Whether any of these is no observation and no weather: what is made of it says so. Names that are no sources are not."""
    return any(TRAITS[name].synthetic for name in sources if name in TRAITS)


SYNTHETIC = "synthetic: made from a formula, not weather, and nothing that was ever observed"


def banner(sources: Iterable[str]) -> str:
    """The words above what is made of these sources; empty where all are of the real world."""
    return SYNTHETIC if synthetic(sources) else ""


SAMPLE_SPACING = 1.0  # degrees


def _plain_url(value: str) -> str:
    _, separator, rest = value.partition("://")
    if not separator or not rest:
        raise ValueError("not a URL (scheme://host/...)")
    if "@" in rest.split("/")[0]:
        raise ValueError("a URL must not carry a user or password; credentials belong in the provider's own file or variable")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_plain_url)]


class Provider(Strict):
    """A provider's section. `VALUES` names the keys that change the values that files hold (not where they are fetched from);
    `ROUTES` those that change which requests are made for the same values."""

    VALUES: ClassVar[tuple[str, ...]] = ()
    ROUTES: ClassVar[tuple[str, ...]] = ()

    @property
    def spacing(self) -> float:
        """Degrees of latitude between neighbouring values of its files; 0 where that is not known."""
        return 0.0

    def values(self) -> dict[str, Any]:
        """The keys that decide what a dataset is made of: part of its hash."""
        return {key: getattr(self, key) for key in self.VALUES}


class TransferConfig(Strict):
    """How files are fetched, whatever the provider."""

    workers: Machine[int] = Field(4, ge=1, le=64, description="Downloads at once over all hosts.")
    per_host: Machine[int] = Field(2, ge=1, le=16, description="Downloads at once from one host.")
    attempts: Machine[int] = Field(6, ge=1, description="Tries per file on transient failures (429, 5xx, time-out, cut connection).")
    backoff_seconds: Machine[float] = Field(2.0, ge=0, description="First pause between tries; doubles each time, with jitter.")
    backoff_limit: Machine[float] = Field(300.0, ge=0, description="Longest pause between tries (seconds).")
    timeout_seconds: Machine[float] = Field(
        60.0, gt=0, description="Longest silence of a server before the connection counts as lost (seconds)."
    )
    max_gaps: Machine[float] = Field(
        0.02, ge=0, le=1, description="Share of a source's files that the provider may not have (404) before that is an error."
    )


class Era5Config(Provider):
    """ERA5: the Climate Data Store (key in ~/.cdsapirc or CDSAPI_KEY), or the public ARCO-ERA5 Zarr (no key)."""

    VALUES = ("extremes", "sst_over_sea")
    ROUTES = ("backend",)

    backend: Literal["cds", "arco"] = Field(
        "cds", description="`cds`: requests by month; `arco`: Zarr on Google Cloud, cheap for surface fields only."
    )
    url: Machine[Url] = Field("https://cds.climate.copernicus.eu/api", description="Climate Data Store API.")
    arco: Machine[Url] = Field(
        "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3", description="ARCO-ERA5 store (any fsspec URL)."
    )
    format: Machine[Literal["netcdf", "grib"]] = Field("netcdf", description="Format asked of the Climate Data Store.")
    extremes: Literal["hourly", "since_previous"] = Field(
        "hourly",
        description="2 m temperature extremes: from hourly values, or from the model's maximum and minimum of each hour (`cds` only).",
    )
    sst_over_sea: bool = Field(
        False, description="Replace 2 m temperature over sea by sea surface temperature (as the reference system does)."
    )

    @property
    def spacing(self) -> float:
        return 0.25


class PrismConfig(Provider):
    """PRISM (CONUS, daily): the web service of the PRISM Climate Group; no account."""

    VALUES = ("region", "resolution")

    url: Machine[Url] = Field("https://services.nacse.org/prism/data/get", description="Web service.")
    region: str = Field("us", description="Region of the web service.")
    resolution: Literal["4km", "800m"] = Field("4km", description="Grid of the files.")

    @property
    def spacing(self) -> float:
        return 1 / 24 if self.resolution == "4km" else 1 / 120


class EarthdataConfig(Strict):
    """Hosts of NASA Earthdata (account in ~/.netrc, EARTHDATA_USERNAME/PASSWORD or EARTHDATA_TOKEN)."""

    cmr: Machine[Url] = Field("https://cmr.earthdata.nasa.gov", description="Common Metadata Repository (search).")
    login: Machine[str] = Field("urs.earthdata.nasa.gov", description="Host of Earthdata Login.")


class DaymetConfig(Provider):
    """Daymet (North America, daily, 1 km), ORNL DAAC, through Earthdata."""

    VALUES = ("short_name", "region")

    short_name: str = Field("Daymet_Daily_V4R1_2129", description="Collection short name.")
    region: Literal["na", "hi", "pr"] = Field("na", description="North America, Hawaii or Puerto Rico.")

    @property
    def spacing(self) -> float:
        return 0.00899  # 1 km


class ImergConfig(Provider):
    """IMERG (global, 0.1 degree), GES DISC, through Earthdata."""

    VALUES = ("product", "version", "run", "min_slots")

    product: Literal["daily", "half_hourly"] = Field("daily", description="Daily files, or half-hourly ones averaged to days.")
    version: str = Field("07", pattern=r"^0[67]$", description="Product version.")
    run: Literal["final", "late", "early"] = Field("final", description="Final, late or early run.")
    min_slots: int = Field(44, ge=1, le=48, description="Half-hours a day needs to count (of 48).")

    @property
    def spacing(self) -> float:
        return 0.1


class SyntheticConfig(Provider):
    """The synthetic test world: daily rain and temperature from a formula, made here. No weather; never mixed with other sources."""

    VALUES = ("degrees", "seed", "bands", "waves")

    degrees: float = Field(2.5, gt=0, le=30, description="Spacing of its files (degrees); 180 divided by it must be whole.")
    seed: int = Field(0, ge=0, description="Another seed is another weather, with other early and late seasons, of the same climate.")
    bands: float = Field(
        0.0, ge=0, le=0.9, description="Share by which the rainy season's amounts go up and down with latitude, every 6 degrees: what "
        "coarse cells do not show, so that sections tell methods apart; 0: none.",
    )
    waves: float = Field(
        0.0, ge=0, le=0.9,
        description="Share by which a wave of 45 days, eastward along the equator, changes the chance of a wet day; 0: none.",
    )

    def values(self) -> dict[str, Any]:
        """Without what is not there: the plain world has the hash that it had before."""
        return {key: value for key, value in super().values().items() if value or key not in ("bands", "waves")}

    @property
    def spacing(self) -> float:
        return self.degrees


class StaticConfig(Provider):
    """Static fields: the packaged 0.25 degree ones, or ERA5's own from the Climate Data Store; optionally a finer relief."""

    VALUES = ("source", "relief")

    source: Literal["packaged", "era5"] = Field(
        "packaged", description="`packaged`: land fraction and altitude; `era5`: also vegetation and lake cover."
    )
    relief: Url | None = Field(
        None, description="URL of a global relief NetCDF (ETOPO 2022: lat, lon, z in metres) used for orography instead."
    )


class SourcesConfig(Strict):
    resources: Place[str] = Field("resources", description="Folder of downloaded provider files.")
    transfer: TransferConfig = Field(default_factory=lambda: TransferConfig(), description="How files are fetched.")
    era5: Era5Config = Field(default_factory=lambda: Era5Config(), description="ERA5 (Copernicus).")
    prism: PrismConfig = Field(default_factory=lambda: PrismConfig(), description="PRISM (Oregon State University).")
    earthdata: EarthdataConfig = Field(default_factory=lambda: EarthdataConfig(), description="NASA Earthdata hosts.")
    daymet: DaymetConfig = Field(default_factory=lambda: DaymetConfig(), description="Daymet (ORNL DAAC).")
    imerg: ImergConfig = Field(default_factory=lambda: ImergConfig(), description="IMERG (NASA GPM).")
    synthetic: SyntheticConfig = Field(default_factory=lambda: SyntheticConfig(), description="The synthetic test world.")
    static: StaticConfig = Field(default_factory=lambda: StaticConfig(), description="Static fields.")

    def spacing(self, name: str) -> float:
        """Degrees of latitude between neighbouring values of a source's files: a finer grid has nothing new to hold."""
        if traits(name).adopted:
            return 0.0  # their files say it when they are opened
        return SAMPLE_SPACING if name == "sample" else float(getattr(self, name).spacing)

    def values(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """For each of these sources, the keys that change its values."""
        return {name: getattr(self, name).values() for name in sorted(set(names))
                if not traits(name).packaged and not traits(name).adopted}  # fmt: skip

    def packaged(self, source: str) -> bool:
        """Whether all of this source ships with orbit2, with these settings."""
        return traits(source).packaged or (source == "static" and self.static.source == "packaged" and self.static.relief is None)
