"""The nine monsoon domains of the published climate matrix, as AR6 regions or as published boxes. Never reads a polygon.

No boxes were published for the nine names (Wang et al. 2025, ORBIT-2); the AR6 regions are this project's reading of them.
"""

from __future__ import annotations

from dataclasses import dataclass

Box = tuple[float, float, float, float]  # south, north, west, east


@dataclass(frozen=True)
class Domain:
    """Either `regions` (abbreviations of AR6 regions, united) or `box`. `southern`: its year begins in July. `land`: land cells only.
    `withdrawal`: share of the year's rain at which fractional accumulation ends the season. `sector`: box of its Hovmöller section."""

    name: str
    title: str
    southern: bool
    regions: tuple[str, ...] = ()
    box: Box | None = None
    land: bool = True
    withdrawal: float = 0.8
    sector: Box | None = None

    @property
    def told(self) -> str:
        """For the `method` of a row."""
        if self.box is None:
            where = "AR6 " + " + ".join(self.regions)
        else:
            where = "box {:g} to {:g} N, {:g} to {:g} E".format(*self.box)
        return where + (", land" if self.land else "")


SECTORS: dict[str, Box] = {
    "west_africa": (-5, 25, -10, 10), "south_asia": (5, 35, 70, 90), "south_america": (-30, 10, -65, -45),
    "southeast_africa": (-30, 0, 30, 40), "australia": (-25, 0, 120, 150), "east_africa": (-12, 15, 35, 45),
    "east_asia": (15, 45, 110, 120), "southeast_asia": (-10, 20, 95, 110), "north_america": (10, 37, -112, -103),
}  # fmt: skip
TITLES = {
    "west_africa": "West Africa", "south_asia": "South Asia", "south_america": "South America", "southeast_africa": "Southeast Africa",
    "australia": "Australia", "east_africa": "East Africa", "east_asia": "East Asia", "southeast_asia": "Southeast Asia",
    "north_america": "North America",
}  # fmt: skip
SOUTHERN = ("south_america", "southeast_africa", "australia")
AR6 = {
    "west_africa": ("WAF",), "south_asia": ("SAS",), "south_america": ("SAM",), "southeast_africa": ("ESAF",), "australia": ("NAU",),
    "east_africa": ("NEAF", "SEAF"), "east_asia": ("EAS",), "southeast_asia": ("SEA",), "north_america": ("NCA",),
}  # fmt: skip


def _named(name: str, regions: tuple[str, ...] = (), box: Box | None = None, land: bool = True) -> Domain:
    return Domain(name, TITLES[name], name in SOUTHERN, regions, box, land, sector=SECTORS[name])


SETS: dict[str, tuple[Domain, ...]] = {
    "ar6": tuple(_named(name, AR6[name]) for name in TITLES),
    "sperber": (  # Sperber & Annamalai 2014, as the PCMDI Metrics Package has them
        _named("west_africa", box=(13, 18, -10, 10)),
        Domain("gulf_of_guinea", "Gulf of Guinea", False, box=(0, 5, -10, 10), land=False, withdrawal=0.6, sector=SECTORS["west_africa"]),
        _named("south_asia", box=(7, 25, 65, 85)),
        _named("south_america", box=(-20, 2.5, -65, -40)),
        _named("australia", box=(-20, -10, 120, 150)),
        _named("north_america", box=(20, 37, -112, -103), land=False),
    ),
    "wang": (  # Wang et al. 2011, as the PCMDI Metrics Package has them
        Domain("north_american_monsoon", "North American monsoon", False, box=(0, 45, 210, 310)),
        Domain("south_american_monsoon", "South American monsoon", True, box=(-45, 0, 240, 330)),
        Domain("north_african_monsoon", "North African monsoon", False, box=(0, 45, -50, 60)),
        Domain("south_african_monsoon", "South African monsoon", True, box=(-45, 0, 0, 90)),
        Domain("asian_summer_monsoon", "Asian summer monsoon", False, box=(0, 45, 60, 180)),
        Domain("australian_monsoon", "Australian monsoon", True, box=(-45, 0, 90, 160)),
    ),
}  # fmt: skip
