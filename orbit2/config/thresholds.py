"""Thresholds of days that matter to somebody: how hot, cold, wet or dry, and what for. Never reads data."""

from __future__ import annotations

from pydantic import Field, model_validator

from orbit2.config.base import Name, Strict
from orbit2.variables import VARIABLES, Variable, cell_methods, is_precipitation

RAIN = "precipitation"  # stands for both standard names of rain: the rate and the amount of a day


class ThresholdConfig(Strict):
    """Days above or below a value, and what they are counted for."""

    use: Name = Field(description="What it is asked for, e.g. `heavy_rain`, `heat`, `frost`, `drought`: a column of the decision page.")
    variable: str = Field(
        description="Canonical name, CF standard name (of fields at the surface), or `precipitation` for daily rain of either kind."
    )
    statistic: str | None = Field(
        None, pattern="^(maximum|minimum|mean|sum)$", description="Only variables that are this of a day; null: any."
    )
    above: float | None = Field(None, description="Days with at least this count; give this or `below`.")
    below: float | None = Field(None, description="Days with less than this count.")
    units: str | None = Field(None, description="Of `above` or `below`, as UDUNITS reads them; null: the variable's own.")
    days: int = Field(1, ge=1, description="Count only days in runs of at least so many days.")

    @model_validator(mode="after")
    def _checked(self) -> ThresholdConfig:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"a threshold: give `above` or `below`, not {'neither' if self.above is None else 'both'}")
        known = [about for about in VARIABLES.values() if self._named(about)]
        if not known:
            raise ValueError(f"a threshold: '{self.variable}' is no canonical name or CF standard name that orbit2 knows")
        if self.units not in (None, "mm", "degC") and all(self._scale(about) is None for about in known):
            raise ValueError(f"a threshold: {self.units} cannot be converted to {known[0].units}")
        return self

    def _named(self, about: Variable) -> bool:
        if self.variable == RAIN:
            return is_precipitation(about.name)
        return self.variable == about.name or (self.variable == about.standard_name and about.kind == "surface")

    def _scale(self, about: Variable) -> tuple[float, float] | None:
        """What makes a value one in the variable's units; None where none does. An amount of a day is a rate a day."""
        if self.units is None:
            return 1.0, 0.0
        from orbit2.units import linear  # reads the tables of UDUNITS, which nobody needs who only reads a configuration

        water = is_precipitation(about.name)
        wanted = ("mm day-1", "mm") if about.units in ("mm", "mm day-1") else (about.units,)
        return next((scale for units in wanted if (scale := linear(self.units, units, water=water)) is not None), None)

    def applies(self, name: str) -> bool:
        """Whether it is asked of daily samples of a variable."""
        about = VARIABLES[name]
        return self._named(about) and self._scale(about) is not None and (
            self.statistic is None or cell_methods(name, 24) == f"time: {self.statistic} (interval: 24 hours)")  # fmt: skip

    def value(self, name: str) -> float:
        """`above` or `below` in the units of a variable that it applies to."""
        scale = self._scale(VARIABLES[name])
        given = self.above if self.above is not None else self.below
        assert scale is not None and given is not None
        return given * scale[0] + scale[1]

    @property
    def told(self) -> str:
        """In words: `at least 35 degC`."""
        side, value = ("at least", self.above) if self.above is not None else ("less than", self.below)
        spells = f", in runs of at least {self.days} days" if self.days > 1 else ""
        return f"{side} {value:g} {self.units or ''}".rstrip() + spells


AIR, MEAN = "air_temperature", "mean"
DEFAULT: dict[str, ThresholdConfig] = {
    "heavy_rain_20mm": ThresholdConfig(use="heavy_rain", variable=RAIN, above=20.0, units="mm"),
    "hot_day_35c": ThresholdConfig(use="heat", variable=AIR, statistic="maximum", above=35.0, units="degC"),
    "hot_mean_28c": ThresholdConfig(use="heat", variable=AIR, statistic=MEAN, above=28.0, units="degC"),
    "frost_day": ThresholdConfig(use="frost", variable=AIR, statistic="minimum", below=0.0, units="degC"),
    "freezing_mean": ThresholdConfig(use="frost", variable=AIR, statistic=MEAN, below=0.0, units="degC"),
    "dry_spell_10d": ThresholdConfig(use="drought", variable=RAIN, below=1.0, units="mm", days=10),
}
