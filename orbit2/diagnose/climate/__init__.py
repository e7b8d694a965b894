"""Climate of a task's kept days: monsoon, seasonality and sections by domain, in rows and in climate.nc. Never of too short a record."""

from orbit2.diagnose.climate.analysis import Analysis, analyse, joined

__all__ = ["Analysis", "analyse", "joined"]
