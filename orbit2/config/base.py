"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _band(band: tuple[float, float]) -> tuple[float, float]:
    south, north = band
    if not (-90 <= south < north <= 90):
        raise ValueError(f"latitudes must be south, north with -90 <= south < north <= 90, not {south:g}, {north:g}")
    return band


def _box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The longitudes may be in any turn and cross 0 E; a box is at most once round the globe."""
    _band(box[:2])
    west, east = box[2:]
    if not (-360 <= west <= 360 and -360 <= east <= 720 and west != east and east - west <= 360):
        raise ValueError(f"longitudes must be west, east within -360 to 360 and not the same, not {west:g}, {east:g}")
    return box


Band = Annotated[tuple[float, float], AfterValidator(_band), Field(description="south, north in degrees")]
Box = Annotated[
    tuple[float, float, float, float], AfterValidator(_box), Field(description="south, north, west, east in degrees")
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
