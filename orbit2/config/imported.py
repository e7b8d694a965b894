"""A model of a run that is not trained in it: the folder where it lies, and what was found there when the configuration was read.

Opens its config.json alone. Of a folder that is not there and has the name of a checkpoint that the ORBIT-2 authors published, the sizes
are known (docs/published_weights.md): the run can be planned, and nothing of it starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, model_validator

from orbit2.config.base import Given, Machine, Strict
from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.files import short_hash

FORMAT = "orbit2-model-1"  # of config.json in a model folder
TRAINED_TILES = "trained_tiles"  # of config.json: {div, overlap}
SAID = ("code_version", "provenance", "training_seconds")  # of config.json, and nothing of what the model computes
PAGE = "docs/published_weights.md says how"
STATICS = ("land_sea_mask", "orography", "row_latitude", "landcover_class")  # of the published weights, as orbit2 calls them
_LEVELS = ("200", "500", "850")
_DYNAMIC = (
    "2m_temperature", "2m_temperature_max", "2m_temperature_min", *(f"temperature_{p}" for p in _LEVELS), "10m_u_component_of_wind",
    *(f"u_component_of_wind_{p}" for p in _LEVELS), "10m_v_component_of_wind", *(f"v_component_of_wind_{p}" for p in _LEVELS),
    *(f"specific_humidity_{p}" for p in _LEVELS), "total_precipitation_24hr", "volumetric_soil_water_layer_1",
)  # fmt: skip
_NOT_US = ("2m_temperature_max", "2m_temperature_min", "10m_u_component_of_wind", "10m_v_component_of_wind")
_RAIN, _LEAST, _MOST, _SEA = "total_precipitation_24hr", "2m_temperature_min", "2m_temperature_max", "sea_surface_temperature"
_US = tuple(name for name in _DYNAMIC if name not in _NOT_US)
_SMALL, _LARGE = {"embed_dim": 256, "depth": 6, "heads": 4}, {"embed_dim": 1024, "depth": 8, "heads": 16}
_HUGE = {"embed_dim": 3072, "depth": 8, "heads": 24}
_THREE = (_RAIN, _LEAST, _MOST)
PUBLISHED: dict[str, tuple[dict[str, int], tuple[int, int], tuple[str, ...], tuple[str, ...], tuple[int, int] | None]] = {
    "global_9.5m_precipitation": (_SMALL, (92, 184), _DYNAMIC, (_RAIN,), (4, 4)),
    "global_126m_precipitation": (_LARGE, (92, 184), _DYNAMIC, (_RAIN,), (4, 4)),
    "us_9.5m_precipitation": (_SMALL, (60, 120), _US, (_RAIN,), None),
    "us_126m_precipitation": (_LARGE, (60, 120), _US, (_RAIN,), None),
    "us_9.5m_temperature": (_SMALL, (60, 120), (_RAIN, _LEAST, _MOST), (_LEAST,), None),
    "us_126m_temperature": (_LARGE, (60, 120), (_RAIN, _LEAST, _MOST), (_LEAST,), None),
    "intermediate_8m": (_SMALL, (90, 180), _DYNAMIC, _THREE, None),
    "intermediate_117m": (_LARGE, (90, 180), _DYNAMIC, _THREE, None),
    "intermediate_1b": (_HUGE, (24, 48), _DYNAMIC, _THREE, None),
}  # stem -> (sizes, tokens of the table of positions, inputs, outputs, (tiles along each side, overlap))


class ImportedFound(Strict):
    """What the folder says of itself; made from it, not written by hand."""

    content: str = Field("", description="8 hex digits of all that decides what the model computes; empty: the folder is not there.")
    architecture: dict[str, Any] = Field(description="Its network.")
    inputs: tuple[str, ...] = Field(description="Its input variables, then static fields.")
    outputs: tuple[str, ...] = Field(description="Its output variables.")
    statics: tuple[str, ...] = Field((), description="Its static fields.")
    tiles: Given[tuple[int, int]] = Field(None, description="Tiles along each side that it was trained on, and their overlap (cells).")
    learned: tuple[tuple[str, str, str, str], ...] = Field(
        (), description="Blocks of time that it learned from or was chosen by: which, first and last time, calendar; none: it does not say."
    )

    @property
    def network(self) -> ArchitectureConfig:
        return ArchitectureConfig.model_validate(self.architecture)


def _or_text(schema: dict[str, Any]) -> None:
    """In the JSON schema the folder alone will do, too."""
    section = dict(schema)
    schema.clear()
    schema["anyOf"] = [{"type": "string"}, section]


class ImportedConfig(Strict):
    """A model that is taken as it is: nothing is trained."""

    model_config = ConfigDict(json_schema_extra=_or_text)

    folder: Machine[str] = Field(
        "", description="Model folder (of `orbit2 model import`, or of another run), seen from the folder that orbit2 is started in."
    )
    found: ImportedFound | None = Field(None, description="What the folder says (made when the configuration is read; not to be written).")

    @model_validator(mode="before")
    @classmethod
    def _looked_into(cls, given: Any) -> Any:
        """A text is the folder; what is in it is found once, when the run's configuration is read."""
        if isinstance(given, str):
            given = {"folder": given}
        if not isinstance(given, Mapping) or given.get("found") is not None or not isinstance(given.get("folder"), str):
            return given
        return {**given, "found": found_in(Path(given["folder"]))}

    @model_validator(mode="after")
    def _somewhere(self) -> ImportedConfig:
        if self.found is None:
            raise ValueError("which folder? imported: FOLDER")
        return self

    @property
    def facts(self) -> ImportedFound:
        assert self.found is not None
        return self.found

    @property
    def there(self) -> bool:
        """Whether the folder was there when the configuration was read."""
        return bool(self.facts.content)

    def refuse_absent(self, name: str) -> None:
        """Raises OrbitError where the folder of model `name` is not there: planned it can be, run it cannot."""
        if not self.there:
            raise absent(Path(self.folder), f"models.{name}.imported")


def absent(folder: Path, where: object) -> OrbitError:
    return OrbitError("no such model folder", where=where, got=str(folder), hint=f"`orbit2 model import` makes it: {PAGE}")


def found_in(folder: Path) -> dict[str, Any]:
    """`ImportedFound` as plain JSON. Raises OrbitError for a folder that is no model, for one that is not there and has no published name,
    and for a model of a box."""
    if not folder.is_dir():
        if folder.exists() or folder.name not in PUBLISHED:
            raise absent(folder, "imported")
        return expected(folder.name)
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise OrbitError("not a model folder", where=folder, got="no config.json" if content is None else str(content)[:60], allowed=FORMAT,
                         hint=f"`orbit2 model import` makes one: {PAGE}")  # fmt: skip
    if content.get("region"):
        raise OrbitError("a model of a box is not imported", where=folder, got=str(content["region"]), hint="train it in this run")
    try:
        return _facts(content)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise OrbitError("not a model that this version reads", where=path, got=" ".join(str(error).split())[:120],
                         hint="import it again with `orbit2 model import`") from None  # fmt: skip


def _facts(content: Mapping[str, Any]) -> dict[str, Any]:
    told = content.get(TRAINED_TILES)
    learned = [
        (f"{block} block of '{name}'", period["start"], period["end"], data.get("calendar") or "standard")
        for name, data in (content.get("datasets") or {}).items()
        for block, period in (data.get("split") or {}).items() if block in ("train", "validation") and isinstance(period, Mapping)
    ]  # fmt: skip
    computed = {key: value for key, value in content.items() if key not in SAID}
    computed["sha256"] = {name: digest for name, digest in content["sha256"].items() if name != "card.md"}
    made = ImportedFound.model_validate({
        "content": short_hash(computed), "architecture": content["architecture"], "inputs": content["inputs"],
        "outputs": content["outputs"], "statics": content["statics"], "learned": learned,
        **({"tiles": (int(told["div"]), int(told["overlap"]))} if told else {}),
    })  # fmt: skip
    _ = made.network
    return made.model_dump(mode="json")


def expected(name: str) -> dict[str, Any]:
    """What a folder of published weights will say, from the shapes that their publisher tells."""
    sizes, table, inputs, outputs, tiles = PUBLISHED[name]
    sea = (_SEA,) if "2m_temperature" in inputs else ()
    network = ArchitectureConfig.model_validate({"kind": "orbit2", "patch": 2, "refinement": 4, "decoder_depth": 4, "table_shape": table,
                                                 "km": 28.0, **sizes})  # fmt: skip
    made = ImportedFound(architecture=network.model_dump(mode="json"), inputs=(*inputs, *sea, *STATICS), outputs=outputs, statics=STATICS,
                         tiles=tiles)  # fmt: skip
    return made.model_dump(mode="json")
