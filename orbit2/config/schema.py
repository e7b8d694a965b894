"""The configuration of a run as one Pydantic model that rejects unknown keys. Never reads files (see load.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from orbit2.config import checks
from orbit2.config.base import WHERE_GIVEN, Band, Box, Given, Kind, Later, Machine, Name, Place, Strict, kind_of
from orbit2.config.dataset import DatasetConfig, Period
from orbit2.config.imported import ImportedConfig
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.sources import SourcesConfig, banner
from orbit2.config.thresholds import DEFAULT, ThresholdConfig
from orbit2.config.variables import VariableConfig, known_to_all
from orbit2.errors import OrbitError, did_you_mean


class ModelConfig(Strict):
    """A trained model: foundation pretraining, or fine-tuning of another one; or one that is taken as it is (`imported`)."""

    datasets: tuple[Name, ...] = Field((), description="Datasets it trains on (keys of `datasets`); needed unless it is `imported`.")
    imported: Given[ImportedConfig] = Field(
        None, description="A folder of `orbit2 model import`, or any model folder: `imported: FOLDER`. It is applied and scored, never "
        "trained; other models may be fine-tuned from it. Stands alone in its section.",
    )
    finetune_from: Name | None = Field(None, description="Model whose weights it starts from; makes this a finetune job.")
    architecture: ArchitectureConfig | None = Field(
        None, description="The network; inherited when fine-tuning, where `noise` alone may be added."
    )
    region: Box | None = Field(None, description="Train on this box only (south, north, west, east, degrees).")
    leave_out: Given[Box] = Field(
        None, description="Leave the truth of this box (south, north, west, east, degrees) out of training and validation, while its "
        "inputs stay: what the model does where it never saw a truth. Grids are not moved then, since moved inputs are made of the truth.",
    )
    outputs: tuple[str, ...] | None = Field(None, description="Subset of output variables; default all.")
    train: TrainConfig = Field(default_factory=lambda: TrainConfig(), description="Optimisation.")

    @model_validator(mode="after")
    def _architecture_or_parent(self) -> ModelConfig:
        if self.imported is not None:
            for key, field in type(self).model_fields.items():
                if key != "imported" and getattr(self, key) != field.get_default(call_default_factory=True):
                    raise ValueError(f"an imported model is taken as it is: remove `{key}`, or fine-tune another model from it")
            return self
        if not self.datasets:
            raise ValueError("give `datasets` to train on, or `imported`: a folder with a model")
        if self.architecture is None and self.finetune_from is None:
            raise ValueError("give `architecture`, or `finetune_from` to inherit one")
        if self.architecture is not None and self.finetune_from is not None:
            given = self.architecture.model_fields_set - {"noise"}
            whole = {name for name, field in ArchitectureConfig.model_fields.items()
                     if kind_of(field) == Kind.SCIENCE and WHERE_GIVEN not in field.metadata}  # fmt: skip
            if given and (not given >= whole or self.architecture != ArchitectureConfig(noise=self.architecture.noise)):  # a slice has all
                raise ValueError("a fine-tuned model inherits its architecture: only `architecture.noise` can be added to it")
        return self

    @property
    def network(self) -> ArchitectureConfig | None:
        """Its own network; None where it has its parent's."""
        return self.architecture if self.imported is None else self.imported.facts.network


class DataConfig(Strict):
    """How training reads its pair stores on this machine."""

    cache: Machine[str | None] = Field(
        None,
        description="Folder on a node's own disk (`$VARS` and `~` are replaced) where shards are kept once read; null = where a profile's "
        "set-up of the node makes room (`$ORBIT2_CACHE`), else none.",
    )
    cache_gb: Machine[float] = Field(100.0, gt=0, description="What `cache` may hold of all stores (GB); the rest is read from them.")


Baseline = Literal[
    "nearest", "bilinear", "bicubic", "conservative", "delta", "lapse_rate", "regression", "quantile_mapping", "bcsd", "parent",
]  # fmt: skip
Cells = Annotated[int, Field(ge=0)]


class MapClimateConfig(Strict):
    """Inputs of another climate than the training's (a GCM's), mapped to it by quantiles before they are downscaled; trends stay."""

    period: Period = Field(
        description="What is fitted on: samples of the task's dataset in it, against the training inputs; no validation or test block of "
        "the model's datasets, nor of the task's own."
    )
    onto: Name | None = Field(None, description="Dataset of the model whose training inputs are mapped to; none: its first.")


class DownscaleConfig(Strict):
    """One downscaling task: which model, which samples."""

    model: Name = Field(description="Model to apply (key of `models`).")
    dataset: Name = Field(description="Dataset whose samples are downscaled (key of `datasets`).")
    split: Literal["train", "validation", "test"] = Field("test", description="Time block to downscale.")
    input: Literal["coarse", "fine"] = Field(
        "coarse", description="`coarse`: the pair's input (has a truth); `fine`: the pair's truth, to a still finer grid."
    )
    map_climate: Given[MapClimateConfig] = Field(
        None, description="Map the inputs to the climate of the training's first: for a GCM, whose biases the model never saw."
    )
    observations: Name | None = Field(
        None, description="Dataset whose fine fields are the truth, on their own grid; predictions and baselines are averaged to it."
    )
    max_samples: int = Field(0, ge=0, description="Use only the first samples of the block; 0 = all.")
    tile: Cells | tuple[Cells, Cells] = Field(
        0, description="Core tile edge in coarse cells, or [rows, columns]; 0 = no tiles. Memory and cost per cell go with it."
    )
    halo: int = Field(8, ge=0, description="Halo around a tile in coarse cells.")
    blend: int | None = Field(
        None, ge=0, description="Coarse cells beside a tile border over which neighbouring predictions are mixed, linearly; 0 = not, "
        "none = half the halo."
    )
    time_block: Machine[int] = Field(1, ge=1, description="Times in one work item and one shard of the prediction.")
    batch: Machine[int] = Field(1, ge=1, description="Times of an item that go through the network together.")
    blocks: Machine[int] = Field(1, ge=1, description="Jobs that the work items are divided over (contiguous blocks).")
    parts: Machine[Literal["month", "year"]] = Field(
        "month", description="What its scores are made of, a file each: calendar months, or years (of small grids)."
    )
    parts_per_job: Machine[int] = Field(
        1, ge=1, description="Parts that one job makes, one after the other, and keeps as each is done: several where starting a job takes "
        "as long as a part."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Arithmetic of the network, as in training: auto = bf16 autocast where the device multiplies bf16 fast."
    )
    members: int = Field(
        0, ge=0, description="Ensemble members, drawn by the noise of a model of `architecture.noise.channels` above 0; 0 = one field, "
        "without noise.",
    )
    seed: int = Field(0, ge=0, description="Seed of the members' noise: same seed, member, time and place, same noise.")
    reference: Given[Name] = Field(
        None, description="Model of the run whose one field the members are held against (their CRPS against its mean absolute error); "
        "none = the members' own model without noise.",
    )
    stored: Later[Literal["exact", "rounded", "plain"]] = Field(
        "exact", description="How predictions are kept: `exact`, as computed (zstd); `rounded`, by no more than pair stores: smaller, "
        "faster (lz4); `plain`, as computed and not compressed.",
    )
    writers: Machine[int] = Field(
        0, ge=0, description="Processes that mix tiles and write them beside the device; 0 = as many as cores are left beside a GPU, at "
        "most 8; none on a processor.",
    )
    wall_minutes: Machine[float] = Field(
        0.0, ge=0, description="Finish the item in hand and exit 75 after this many minutes; 0 = no limit."
    )
    cuda_graphs: Machine[bool] = Field(
        False, description="Replay the network as a CUDA graph (GPUs only): saves launches on small grids and tiles."
    )

    @model_validator(mode="after")
    def _blend_within_halo(self) -> DownscaleConfig:
        if self.blend is not None and self.blend > self.halo:
            raise ValueError(f"blend ({self.blend}) cannot be wider than the halo ({self.halo})")
        return self


class EvaluateConfig(Strict):
    protocols: tuple[Literal["standard", "orbit2_paper"], ...] = Field(
        ("standard", "orbit2_paper"),
        description="Definitions of the metrics, side by side and never mixed: the project's own, and those of ORBIT-2's Table IV, whose "
        "names begin with `paper_`.",
    )
    every: int = Field(
        1, ge=1, description="SSIM, fractions skill, SAL, spectra and the paper's scores of every n-th sample only."
    )
    baselines: tuple[Baseline, ...] = Field(
        ("nearest", "bilinear", "bicubic", "conservative", "delta", "lapse_rate", "regression", "quantile_mapping", "bcsd", "parent"),
        description="Scored beside the model: interpolations of the same inputs; `delta`, `lapse_rate`, `regression`, `quantile_mapping`, "
        "`bcsd`: fitted to training samples; `parent`: the model that a fine-tuned one started from.",
    )
    other_products: bool = Field(
        True, description="Score another observational product of the run (PRISM, DAYMET, IMERG) beside the model, as `obs:<dataset>`: "
        "how well products agree.",
    )
    spectra_bands: tuple[Band, ...] = Field(
        ((-60.0, -30.0), (-30.0, 30.0), (30.0, 60.0)), description="Latitude bands of zonal spectra (degrees)."
    )
    spectra_boxes: dict[str, Box] = Field({"conus": (32.0, 46.0, 242.0, 278.0)}, description="Boxes of radial spectra.")
    bootstrap: int = Field(1000, ge=0, description="Block-bootstrap draws for 95 % intervals of scores and differences; 0 = none.")


class DiagnoseConfig(Strict):
    regions: dict[Name, str] = Field(
        {}, description="Regions of your own beside the 58 IPCC AR6 reference regions: name of the set -> GeoJSON, shapefile or zipped "
        "shapefile; their rows are named `<set>:<region>`.",
    )
    hovmoller_band: Band = Field((-5.0, 5.0), description="Latitude band averaged in the time-longitude diagram (degrees).")
    domains: Literal["ar6", "sperber", "wang"] = Field(
        "ar6", description="Monsoon domains: the nine of the published climate matrix as AR6 regions, or boxes of Sperber & Annamalai "
        "(2014) or of Wang et al. (2011).",
    )
    keep: int = Field(
        16_384, ge=1, description="Blocks of cells, at most, on which days are kept for regions of your own, thresholds and seasons. "
        "More blocks: finer regions, larger files.",
    )

    @field_validator("regions", mode="before")
    @classmethod
    def _ar6_alone(cls, given: object) -> object:
        """`ar6`, which was the only value that there was, means none of one's own."""
        return {} if given == "ar6" else given


TOLERANCE = {"K": 0.5, "mm day-1": 0.5, "mm": 0.5, "m s-1": 0.5, "Pa": 50.0, "kg kg-1": 0.0005, "day": 7.0}


class ReportConfig(Strict):
    title: str = Field("orbit2 downscaling report", description="Title of the report.")
    map_task: Name | None = Field(None, description="Downscale task shown in the maps; default the first with a truth.")
    frame: int = Field(0, ge=0, description="Index of the dated frame shown in the maps.")
    thresholds: dict[Name, ThresholdConfig] = Field(
        DEFAULT, description="Days that decide what the product can be used for, by name; counted by region from kept days. One's own "
        "stand in place of all of these.",
    )
    zoom: Box = Field((30.0, 48.0, 355.0, 20.0), description="Box of the zoomed maps (may cross the 0 meridian).")
    dates: int = Field(8, ge=0, le=60, description="Dates under the slider of the page's maps, evenly spread over the test; 0: no slider.")
    uses: tuple[Name, ...] = Field(
        ("mean", "timing", "heavy_rain", "heat", "frost", "drought"),
        description="Uses of the decision page, in order: `mean` (from day to day), `timing` (of rainy seasons), and those of thresholds.",
    )
    tolerance: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        TOLERANCE, description="Largest error with which a use may stand, by its units; `day`: of dates, and of days in a year. Units that "
        "you leave out keep theirs; in units without one no use stands on its error.",
    )

    @field_validator("tolerance", mode="before")
    @classmethod
    def _rest(cls, given: object) -> object:
        return {**TOLERANCE, **given} if isinstance(given, dict) else given


class RunConfig(Strict):
    """Everything scientific about one run; machines live in profiles/."""

    label: Place[Name] = Field("demo", description="Name of the run and of its results folder.")
    variables: dict[Name, VariableConfig] = Field(
        {}, description="Variables that orbit2 does not know of itself, or that are to mean something else in this run, by canonical name."
    )
    sources: SourcesConfig = Field(default_factory=lambda: SourcesConfig(), description="Where provider files are kept.")
    datasets: dict[Name, DatasetConfig] = Field(min_length=1, description="Paired datasets by name.")
    data: Machine[DataConfig] = Field(default_factory=lambda: DataConfig(), description="How training reads on this machine.")
    models: dict[Name, ModelConfig] = Field(min_length=1, description="Models by name, foundation and fine-tuned.")
    downscale: dict[Name, DownscaleConfig] = Field({}, description="Downscaling tasks by name.")
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig(), description="Scores.")
    diagnose: DiagnoseConfig = Field(default_factory=lambda: DiagnoseConfig(), description="Climate diagnostics.")
    report: ReportConfig = Field(default_factory=lambda: ReportConfig(), description="The report.")

    @model_validator(mode="before")
    @classmethod
    def _declared(cls, given: Any) -> Any:
        """The names of `variables` are known before the sections that use them are read. What is not valid there is said of there."""
        section = given.get("variables") if isinstance(given, dict) else None
        if isinstance(section, dict) and section:
            try:
                known_to_all(section, "the configuration")
            except ValidationError:
                return given  # pydantic says it again, with its place
            except ValueError as error:
                raise ValueError(f"variables.{error}") from None
        return given

    @model_validator(mode="after")
    def _references(self) -> RunConfig:
        def need(kind: str, table: object, key: str, user: str) -> None:
            names = list(table)  # type: ignore[call-overload]
            if key not in names:
                hint = did_you_mean(key, names) or f"known: {', '.join(names)}"
                raise ValueError(f"{user} names unknown {kind} '{key}'; {hint}")

        for name, model in self.models.items():
            for dataset in model.datasets:
                need("dataset", self.datasets, dataset, f"models.{name}")
                if not self.datasets[dataset].inputs or not self.datasets[dataset].outputs:
                    lacks = "outputs" if self.datasets[dataset].inputs else "inputs"
                    raise ValueError(f"models.{name} trains on '{dataset}', which has no {lacks}")
            if model.finetune_from is not None:
                need("model", self.models, model.finetune_from, f"models.{name}.finetune_from")
            architecture = self.architecture_of(name)
            for dataset in model.datasets:
                factor = self.datasets[dataset].refinement
                if factor != architecture.refinement:
                    raise ValueError(f"models.{name}: refinement {architecture.refinement} does not match dataset '{dataset}' ({factor})")
                for output in model.outputs or ():
                    if output not in self.datasets[dataset].outputs:
                        raise ValueError(f"models.{name}.outputs: '{output}' is not an output of dataset '{dataset}'")
        for name, task in self.downscale.items():
            need("model", self.models, task.model, f"downscale.{name}")
            need("dataset", self.datasets, task.dataset, f"downscale.{name}")
            if task.split not in self.datasets[task.dataset].split.blocks:
                raise ValueError(f"downscale.{name}.split: dataset '{task.dataset}' has no {task.split} block")
            architecture = self.architecture_of(task.model)
            if task.members and not architecture.noise.channels:
                raise ValueError(f"downscale.{name}.members: '{task.model}' has no noise: set its architecture.noise.channels above 0")
            if task.reference is not None:
                need("model", self.models, task.reference, f"downscale.{name}.reference")
                if not task.members:
                    raise ValueError(f"downscale.{name}.reference: only with members")
                if self.architecture_of(task.reference).refinement != architecture.refinement:
                    raise ValueError(f"downscale.{name}.reference: '{task.reference}' has another refinement than '{task.model}'")
            if not self.datasets[task.dataset].inputs:
                raise ValueError(f"downscale.{name}.dataset: '{task.dataset}' has no inputs")
            checks.imported(self, name, task)
            if task.observations is not None:
                need("dataset", self.datasets, task.observations, f"downscale.{name}.observations")
                if task.input != "coarse":
                    raise ValueError(f"downscale.{name}.observations: only with `input: coarse`")
                if not self.datasets[task.observations].outputs:
                    raise ValueError(f"downscale.{name}.observations: '{task.observations}' has no outputs")
        if self.report.map_task is not None:
            need("downscale task", self.downscale, self.report.map_task, "report.map_task")
        checks.noise(self)
        checks.regions(self)
        checks.positions(self)
        checks.spacings(self)
        checks.synthetic(self)
        checks.blocks(self)
        checks.climates(self)
        return self

    @property
    def banner(self) -> str:
        """What stands on every page and picture of a run whose data are none of the real world; empty for all others."""
        return banner(source for dataset in self.datasets.values() for source in dataset.sources)

    def architecture_of(self, name: str) -> ArchitectureConfig:
        """The architecture of model `name`: that of its eldest ancestor, with the noise that it or its nearest ancestor adds."""
        own = [self.models[ancestor].network for ancestor in self.lineage(name)]
        assert own[-1] is not None
        added = next((each.noise for each in own[:-1] if each is not None), own[-1].noise)
        if added == own[-1].noise:
            return own[-1]
        if own[-1].kind != "reslim":
            raise OrbitError("noise is of Reslim alone", where=f"models.{name}.architecture.noise", got=own[-1].kind, allowed="reslim",
                             hint="take the noise out, or set kind: reslim")  # fmt: skip
        return ArchitectureConfig.model_validate({**own[-1].model_dump(), "noise": added})

    def lineage(self, name: str) -> list[str]:
        """Model `name` and its fine-tuning ancestors, the eldest last."""
        seen = [name]
        while (parent := self.models[seen[-1]].finetune_from) is not None:
            if parent in seen or parent not in self.models:
                raise OrbitError("models fine-tune from each other in a circle", where=f"models.{name}", got=" -> ".join([*seen, parent]),
                                 hint="take one `finetune_from` of the circle out")  # fmt: skip
            seen.append(parent)
        return seen
