"""What all sections of the configuration share: strictness, and the kinds of keys."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


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


class Kind(StrEnum):
    """What a key is for. Only science keys (all that say nothing else) enter hashes, slices and reruns.

    A machine key may change how long something takes, what it needs and its rounding, never what is computed. A place key says
    where files lie: with another one everything is looked for, and made, there.
    """

    SCIENCE = "science"
    MACHINE = "machine"
    PLACE = "place"


WHERE_GIVEN = "where given"  # a science key that is no part of anything at its default: who does not use it keeps hashes from before


T = TypeVar("T")
Machine = Annotated[T, Kind.MACHINE]  # `workers: Machine[int] = Field(...)`
Place = Annotated[T, Kind.PLACE]
Given = Annotated[T | None, WHERE_GIVEN]  # `files: Given[FilesConfig] = Field(None, ...)`
Later = Annotated[T, WHERE_GIVEN]  # the same of a key with another default than None


def kind_of(field: FieldInfo) -> Kind:
    """The kind that a field was marked with; science when it was not."""
    return next((item for item in field.metadata if isinstance(item, Kind)), Kind.SCIENCE)


def section_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """(the section inside the type `annotation`, whether it is the value of a mapping)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    mapped = typing.get_origin(annotation) is dict
    for argument in typing.get_args(annotation):
        found, inner = section_in(argument)
        if found is not None:
            return found, mapped or inner
    return None, False


def science(value: Any) -> Any:
    """`value` as plain JSON, its sections without their machine and place keys."""
    if isinstance(value, BaseModel):
        dumped = value.model_dump(mode="json")
        inner = {name: getattr(value, name) for name, field in type(value).model_fields.items() if kind_of(field) == Kind.SCIENCE
                 and not (WHERE_GIVEN in field.metadata and getattr(value, name) == field.default)}  # fmt: skip
        return {name: science(item) if _holds_section(item) else dumped[name] for name, item in inner.items()}
    return {str(key): science(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def machine(value: Any) -> dict[str, Any]:
    """The rest of `value`, in the same shape: machine and place keys alone; what has none of them is left out."""
    result: dict[str, Any] = {}
    if isinstance(value, BaseModel):
        dumped = value.model_dump(mode="json")
        for name, field in type(value).model_fields.items():
            if kind_of(field) != Kind.SCIENCE:
                result[name] = dumped[name]
            elif found := machine(getattr(value, name)):
                result[name] = found
    elif isinstance(value, Mapping):
        result = {str(key): found for key, item in value.items() if (found := machine(item))}
    return result


def _holds_section(value: Any) -> bool:
    return isinstance(value, BaseModel) or (isinstance(value, Mapping) and any(isinstance(item, BaseModel) for item in value.values()))
