"""The verbs of the nine stages. Each turns file paths into one call of its stage and never holds science."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from orbit2 import outputs
from orbit2.allowance import allow
from orbit2.cli import ended
from orbit2.cli.options import Config, Device, MaybeConfig, MaybeOut, Memory, Named, Out, Resources, Store, Threads, need
from orbit2.cli.scores import diagnose, evaluate
from orbit2.errors import OrbitError
from orbit2.signals import StopRequest


def named(items: Sequence[str], option: str) -> dict[str, Path]:
    """`["name=path", ...]` as a mapping. Raises OrbitError for an item of another form or a name given twice."""
    result: dict[str, Path] = {}
    for item in items:
        name, separator, path = item.partition("=")
        if not separator or not name or not path:
            raise OrbitError("not of the form dataset=path", where=option, got=item, hint=f"e.g. {option} era5=PATH")
        if name in result:
            raise OrbitError("dataset given twice", where=option, got=name, hint="give each dataset once")
        result[name] = Path(path)
    return result


def retrieve(
    source: Annotated[str | None, typer.Argument(help="Provider, e.g. sample, era5 or static; default: all of the run.")] = None,
    out: MaybeOut = None,
    config: Annotated[Path | None, typer.Option(
        "--config", "-c", help="The run's YAML, or the stage's slice of it (JSON).", show_default=False)] = None,
    receipt: Annotated[Path | None, typer.Option(help="Written when all is there (JSON).", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be fetched, and how much; fetch nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file again and fetch what differs from its checksum.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value, laid over the YAML; may be repeated.")] = None,
    adopt: Annotated[Path | None, typer.Option(
        "--adopt", help="Folder of ERA5, PRISM, Daymet or IMERG files that are here already: they count as fetched.",
        show_default=False)] = None,
) -> None:
    """Fetch a provider's own files, untouched, with a manifest of checksums; started again, it resumes."""
    outputs.file(receipt, "source", "files")
    from orbit2.retrieve import run, run_adopt, run_config

    if adopt is not None:
        if receipt or dry_run or verify or out is not None:
            raise OrbitError("--adopt goes with SOURCE, --config and --set alone", where="--adopt", hint="leave the other options out")
        run_adopt(folder=adopt, config=config, source=source, overrides=overrides or ())
    elif config is not None and config.suffix in (".yaml", ".yml"):
        run_config(config=config, source=source, out=out, receipt=receipt, dry_run=dry_run, verify=verify, overrides=overrides or ())
        if not dry_run:
            typer.echo(f"all files are here; the run goes on from them:\n  orbit2 run {config}")
    elif overrides:
        raise OrbitError("--set goes with a run's YAML as --config", where="--set", hint="add --config RUN.yaml")
    elif source is None or out is None:
        raise OrbitError("give SOURCE and --out, or a run's YAML as --config", where="command line", hint="see --help")
    else:
        run(source=source, out=out, config=config, receipt=receipt, dry_run=dry_run, verify=verify)


regrid = typer.Typer(help="Build coarse/fine pairs: init, then any number of parts at once, then finalise.")


@regrid.callback(invoke_without_command=True)
def regrid_group(
    context: typer.Context,
    inspect: Annotated[Path | None, typer.Option(help="Say how far and how whole this store is; the same as `inspect STORE`.")] = None,
) -> None:
    """Build coarse/fine pairs: init, then any number of parts at once, then finalise."""
    if context.invoked_subcommand is None:
        if inspect is None:
            raise OrbitError("nothing to do", where="orbit2 regrid", hint="init, part, finalise or inspect; see --help")
        regrid_inspect(inspect)


@regrid.command("init")
def regrid_init(
    config: Config, resources: Resources, store: Store,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Marker file written when done (JSON).")] = None,
) -> None:
    """Create the empty store."""
    outputs.file(out, "store", "initialised")
    from orbit2.regrid import initialise

    initialise(config=config, resources=resources, store=store, out=out)
    ended.wrote(store, "its parts can be built, in any order and side by side", "orbit2", "regrid", "part", "--config", config,
                "--resources", resources, "--store", store, "--part", "000", "--out", "parts/000.json")  # fmt: skip


@regrid.command("part")
def regrid_part(
    config: Config, resources: Resources, store: Store, out: Out,
    part: Annotated[str, typer.Option(help="Identifier of the part, e.g. 000.", show_default=False)],
    memory_mb: Memory = None, threads: Threads = None,
) -> None:
    """Build one part of the store; writes its checksums."""
    outputs.file(out, "part", "config_hash")
    allow(memory_mb, threads)
    from orbit2.regrid import build_part

    build_part(config=config, resources=resources, store=store, part=part, out=out)
    ended.wrote(out, "once every part is there", "orbit2", "regrid", "finalise", out.parent, "--config", config, "--store", store,
                "--out", "store.json")  # fmt: skip


@regrid.command("finalise")
def regrid_finalise(
    config: Config, store: Store, out: Out,
    parts: Annotated[Path, typer.Argument(help="Folder of what the part jobs wrote (JSON).", show_default=False)],
) -> None:
    """Check that every part is there and declare the store complete."""
    outputs.file(out, "dataset", "hash", "samples")
    from orbit2.regrid import finalise

    finalise(config=config, store=store, parts=parts, out=out)
    ended.wrote(out, "the store is whole; its statistics come next", "orbit2", "statistics", "--config", config, "--store", store,
                "--out", "statistics.json")  # fmt: skip


@regrid.command("inspect")
def regrid_inspect(
    store: Annotated[Path, typer.Argument(help="Pair store (pairs.zarr).", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and compare digests.")] = False,
) -> None:
    """Say what a store holds, how far its build is and whether it is whole."""
    from orbit2.regrid import inspect

    typer.echo(inspect(store, verify=verify))


def statistics(config: Config, store: Store, out: Out, memory_mb: Memory = None, threads: Threads = None) -> None:
    """Mean and spread of every field, from the training block only."""
    outputs.file(out, "dataset", "hash", "coarse", "fine")
    allow(memory_mb, threads)
    from orbit2.statistics import run

    run(config=config, store=store, out=out)
    ended.wrote(out, "a model can be trained on the store", "orbit2", "train", "--help")


Checkpoints = Annotated[Path, typer.Option(help="Folder of the checkpoints; training resumes from the newest.", show_default=False)]


Profile = Annotated[bool, typer.Option("--profile", help="Trace a few steps: checkpoints/profile/trace.json.gz, and ten lines of it.")]
Wall = Annotated[float, typer.Option(min=0, help="Save and exit 75 after this many minutes at the latest; 0 = as configured.")]


def train(
    config: Config, store: Named, statistics: Named, out: Out, checkpoints: Checkpoints, device: Device = None, wall_minutes: Wall = 0.0,
    profile: Profile = False,
) -> None:
    """Train a model; started again, it resumes from its newest checkpoint (exit 75: stopped early, resumable)."""
    with StopRequest():  # from before the slow imports on, no signal is lost
        from orbit2.plan.after import rate
        from orbit2.train import run

        run(config=config, stores=named(store, "--store"), statistics=named(statistics, "--statistics"), out=out, checkpoints=checkpoints,
            device=device, wall_minutes=wall_minutes, rate=rate, profile=profile)
    ended.wrote(out, *_downscale_with(out))


def finetune(
    config: Config, store: Named, statistics: Named, out: Out, checkpoints: Checkpoints,
    parent: Annotated[Path, typer.Option(help="Model folder whose weights it starts from.", show_default=False)],
    device: Device = None, wall_minutes: Wall = 0.0,
    profile: Profile = False,
) -> None:
    """Continue from a trained model on a region or a subset of its outputs."""
    with StopRequest():
        from orbit2.plan.after import rate
        from orbit2.train import run

        run(config=config, stores=named(store, "--store"), statistics=named(statistics, "--statistics"), out=out, checkpoints=checkpoints,
            parent=parent, device=device, wall_minutes=wall_minutes, rate=rate, profile=profile)
    ended.wrote(out, *_downscale_with(out))


def _downscale_with(model: Path) -> tuple[str, ...]:
    return "downscale a file of yours with it", "orbit2", "downscale", "coarse.nc", "--model", str(model), "-o", "fine.zarr"


def renamed(items: Sequence[str]) -> dict[str, str]:
    """`["theirs=ours", ...]` as a mapping. Raises OrbitError for an item of another form or a name given twice."""
    result: dict[str, str] = {}
    for item in items:
        theirs, separator, ours = (part.strip() for part in item.partition("="))
        if not separator or not theirs or not ours or theirs in result:
            raise OrbitError("not of the form NAME=canonical_name, each once", where="--rename", got=item, allowed="e.g. tg=2m_temperature",
                             hint="their name, an equals sign, orbit2's name")  # fmt: skip
        result[theirs] = ours
    return result


def tile_size(text: str) -> int | tuple[int, int]:
    """`N` or `ROWS,COLUMNS`. Raises OrbitError for anything else."""
    numbers = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(numbers) != text.count(",") + 1 or len(numbers) > 2:
        raise OrbitError("not a tile size", where="--tile", got=text, allowed="N or ROWS,COLUMNS, in coarse cells",
                         hint="e.g. --tile 64 or --tile 64,128; 0 for no tiles")  # fmt: skip
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def downscale(
    model: Annotated[Path, typer.Option(help="Model folder (config.json, weights.safetensors, ...).", show_default=False)],
    out: Out,
    file: Annotated[list[str] | None, typer.Argument(
        help="Your own NetCDF, Zarr or GRIB, or zips of them: files, patterns, folders, addresses.", show_default=False)] = None,
    config: MaybeConfig = None,
    store: Annotated[Path | None, typer.Option(help="Pair store (pairs.zarr) to take the samples from.", show_default=False)] = None,
    climate: Annotated[Path | None, typer.Option(
        help="Pair store to whose training inputs those of a task with `map_climate` are mapped.", show_default=False)] = None,
    static: Annotated[Path | None, typer.Option(
        "--static", "--statics", help="File of static fields (canonical names), or `packaged`; default: those of the training.")] = None,
    tile: Annotated[str, typer.Option(help="Core tile edge in coarse cells (N or ROWS,COLUMNS); 0 = no tiles. Of a FILE.")] = "0",
    halo: Annotated[int, typer.Option(min=0, help="Halo around a tile in coarse cells. Of a FILE.")] = 8,
    blend: Annotated[int | None, typer.Option(
        min=0, show_default="half the halo", help="Coarse cells beside tile borders where neighbours mix; 0 = none. Of a FILE.")] = None,
    precision: Annotated[Literal["auto", "fp32", "bf16"], typer.Option(
        help="Arithmetic of the network; auto = bf16 where the device multiplies it fast. Of a FILE.")] = "fp32",
    batch: Annotated[int, typer.Option(min=1, help="Times that go through the network together. Of a FILE.")] = 1,
    time_block: Annotated[int, typer.Option(min=1, help="Times in one work item and one shard of the output. Of a FILE.")] = 1,
    wall_minutes: Annotated[float, typer.Option(min=0, help="Stop resumably (exit 75) after this long; 0 = no limit.")] = 0.0,
    block: Annotated[str | None, typer.Option(
        help="i/n: only this share of the work, others elsewhere. With --config also init before and finalise after them.")] = None,
    receipt: Annotated[Path | None, typer.Option(
        help="With --config and --block: written when that is done (JSON); of a FILE: where its time went.")] = None,
    memory_mb: Memory = None, threads: Threads = None,
    overwrite: Annotated[bool, typer.Option(
        "--overwrite", help="Replace what is at --out (never the input, the model or a folder that is no Zarr store). Of a FILE.")] = False,
    rename: Annotated[list[str] | None, typer.Option(
        help="THEIRS=OURS: which of the file's variables is which, e.g. tg=2m_temperature; may be repeated. Of a FILE.")] = None,
    accumulated: Annotated[str | None, typer.Option(
        help="Over how long amounts of precipitation (mm, m) are taken, e.g. 1h or 24h, where the FILE does not say.")] = None,
    time: Annotated[str | None, typer.Option(
        help="Of a FILE without times: 2020-01-31T12:00, or for several fields 2020-01-01T00:00,6h.")] = None,
    trust_units: Annotated[bool, typer.Option(
        "--trust-units", help="Use the values as they are labelled, however unlikely beside those of the training. Of a FILE.")] = False,
    trim: Annotated[int, typer.Option(min=0, help="Coarse cells left out at each open side of a box. Of a FILE.")] = 0,
    site_memory: Annotated[bool, typer.Option(
        "--site-memory/--no-site-memory", help="Add what the model learned of single cells, on the grid that it learned it on; not for "
        "inputs of another climate. Of a FILE.")] = True,
    members: Annotated[int, typer.Option(
        min=0, help="Members of an ensemble, drawn by the model's noise; 0 = one field. Of a FILE.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the members' noise. Of a FILE.")] = 0,
    quantiles: Annotated[str | None, typer.Option(
        help="Keep these of the members instead of them, e.g. 0.1,0.5,0.9. Of a FILE.", show_default=False)] = None,
    probability: Annotated[list[str] | None, typer.Option(
        help="Keep the share of members instead of them, e.g. 'precipitation>20', 't2m>=30 degC'; may be repeated. Of a FILE.",
        show_default=False)] = None,
    stored: Annotated[Literal["exact", "rounded", "plain"], typer.Option(
        help="How values are kept: as computed, rounded as pair stores are (smaller, faster), or uncompressed. Of a FILE.")] = "exact",
    writers: Annotated[int, typer.Option(
        min=0, help="Processes that mix tiles and write them; 0 = as many as cores are left beside a GPU, else none. Of a FILE.")] = 0,
    cuda_graphs: Annotated[bool, typer.Option(
        "--cuda-graphs", help="Replay the network as a CUDA graph (GPUs only): quicker on small grids and tiles. Of a FILE.")] = False,
    device: Device = None,
) -> None:
    """Downscale a FILE of your own, or a task of a run (--config and --store); started again, it resumes."""
    allow(memory_mb, threads)
    if file:
        if config is not None or store is not None:
            raise OrbitError("give either a FILE or --config with --store, not both", where="command line",
                             hint="a FILE is your own; --config and --store are a task of a run")  # fmt: skip
        with StopRequest():
            from orbit2.downscale import Reading, Settings, downscale_file, quantiles_from
            from orbit2.plan.after import rate

        settings = Settings(tile=tile_size(tile), halo=halo, blend=blend, batch=batch, time_block=time_block, trim=trim, members=members,
                            seed=seed, quantiles=() if quantiles is None else quantiles_from(quantiles), events=tuple(probability or ()),
                            stored=stored, writers=writers)
        said = Reading(renamed(rename or ()), accumulated, time, trust_units)
        downscale_file(input=file, model=model, out=out, static=static, settings=settings, block=block, wall_minutes=wall_minutes,
                       precision=precision, overwrite=overwrite, said=said, device=device, receipt=receipt, rate=rate,
                       site_memory=site_memory, cuda_graphs=cuda_graphs)
        if block is None:
            ended.wrote(out, "is it good? Judge it by a truth", "orbit2", "evaluate", out, "truth.nc", "-o", "judged")
    else:
        if overwrite:
            raise OrbitError("--overwrite goes with a FILE", where="--overwrite",
                             hint="a task replaces its own prediction when its settings change")  # fmt: skip
        if rename or accumulated or time or trust_units or trim or not site_memory:
            raise OrbitError("--rename, --accumulated, --time, --trust-units, --trim and --no-site-memory go with a FILE",
                             where="command line", hint="leave them out: a task has keys of its own in the configuration")  # fmt: skip
        if stored != "exact" or writers or cuda_graphs:
            raise OrbitError("--stored, --writers and --cuda-graphs go with a FILE", where="command line",
                             hint="of a task: `downscale.<task>.stored`, `writers` and `cuda_graphs` in the configuration")  # fmt: skip
        if members or seed or quantiles or probability:
            raise OrbitError("--members, --seed, --quantiles and --probability go with a FILE", where="command line",
                             hint="of a task: `downscale.<task>.members` and `seed` in the configuration")  # fmt: skip
        if config is None and store is None:
            raise OrbitError("nothing to downscale", where="command line", hint="give a FILE, or --config and --store; see --help")
        given = need(config=config, store=store)
        with StopRequest():
            from orbit2.downscale import run
            from orbit2.plan.after import rate

            run(config=given["config"], store=given["store"], model=model, out=out, block=block, receipt=receipt, device=device,
                wall_minutes=wall_minutes, rate=rate, climate=climate)
        if block is None:
            ended.wrote(out, "its scores come next", "orbit2", "evaluate", "--help")


Root = Annotated[Path, typer.Option(help="Folder that the paths in the configuration are relative to.")]
Region = Annotated[str | None, typer.Option(help="Box, e.g. 20N-40N,70E-100E.", show_default="all cells")]
OfTask = Annotated[str | None, typer.Option(help="Task that is drawn.", show_default="the mapped one")]
report = typer.Typer(help="Write the self-contained HTML report; `headline` prints its main numbers, `animate` a month.")


@report.callback(invoke_without_command=True)
def report_page(
    context: typer.Context, config: MaybeConfig = None, out: MaybeOut = None, root: Root = Path("."),
    compare: Annotated[tuple[Path, Path] | None, typer.Option(
        help="Two run folders (results/demo): a scorecard of both, differences with their significance.", show_default=False)] = None,
    time: Annotated[str | None, typer.Option(
        help="Maps of this sample alone (2020-07-14, 2020-07-14T18:00) as PNG, into the folder --out.", show_default=False)] = None,
    region: Region = None, task: OfTask = None,
    variable: Annotated[list[str] | None, typer.Option(help="With --time: these alone.", show_default="all")] = None,
    memory_mb: Memory = None, threads: Threads = None,
) -> None:  # fmt: skip
    """Write the self-contained HTML report; `headline` prints its main numbers, `--compare` sets two runs beside each other, `--time` draws
    any sample, `animate` a month."""
    allow(memory_mb, threads)
    if context.invoked_subcommand is None and time is None and (region or task or variable):
        raise OrbitError("--region, --task and --variable go with --time", where="command line", hint="or with `orbit2 report animate`")
    if context.invoked_subcommand is None and compare is not None:
        if config is not None or time is not None:
            raise OrbitError("--compare reads the runs' own configurations", where="--compare", hint="leave --config and --time out")
        where = need(out=out)["out"]
        outputs.page(where)
        from orbit2.report.compare import run as compare_runs

        compare_runs(*compare, where)
        ended.page(where / "index.html")
    elif context.invoked_subcommand is None:
        options = need(config=config, out=out)
        if time is not None:
            outputs.files(options["out"], {})
            from orbit2.report.samples import draw

            for path in draw(**options, root=root, time=time, region=region, task=task, variables=variable or ()):
                typer.echo(path)
            return
        outputs.page(options["out"])
        from orbit2.notebook import NOTEBOOK
        from orbit2.plan.after import foresee
        from orbit2.report import run

        with NOTEBOOK.opened():
            run(**options, root=root, foresee=foresee)
        ended.page(options["out"] / "index.html")


@report.command("animate")
def report_animate(
    config: Config, out: Out,
    month: Annotated[str, typer.Option(help="Calendar month, YYYY-MM.", show_default=False)],
    region: Region = None, task: OfTask = None,
    variable: Annotated[str | None, typer.Option(help="What is drawn.", show_default="the task's first")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=60, help="Frames a second.")] = 4.0, root: Root = Path("."),
) -> None:  # fmt: skip
    """Input, truth and model of every sample of a month, as moving pictures: --out july.mp4 or july.gif."""
    from orbit2.report.figures.moving import MOST
    from orbit2.report.samples import animate

    drawn, held = animate(config=config, out=out, root=root, month=month, region=region, task=task, name=variable, rate=rate)
    ended.wrote(f"{out}: {drawn} frames" + (f", every {-(-held // MOST)}th of {held} samples" if drawn < held else ""), "open it")


@report.command("headline")
def report_headline(run: Annotated[Path, typer.Argument(help="Run folder, e.g. results/demo.", show_default=False)]) -> None:
    """Print where the report is and RMSE of the model beside the best interpolation."""
    from orbit2.cli.headline import headline

    typer.echo(headline(run))


def register(app: typer.Typer) -> None:
    app.command("retrieve")(retrieve)
    app.add_typer(regrid, name="regrid")
    app.command("statistics")(statistics)
    app.command("train")(train)
    app.command("finetune")(finetune)
    app.command("downscale")(downscale)
    app.add_typer(evaluate, name="evaluate")
    app.add_typer(diagnose, name="diagnose")
    app.add_typer(report, name="report")
