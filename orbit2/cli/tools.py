"""The verbs beside the stages: plan, doctor, migrate, clean, unlock, stop, config, model. Never writes into results/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orbit2.cli import ended
from orbit2.errors import EXIT_USER, OrbitError

if TYPE_CHECKING:
    from orbit2.config.schema import RunConfig
    from orbit2.plan.machine import Machine

RunFile = Annotated[Path, typer.Argument(help="Configuration of a run (YAML).", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value, laid over the file; may be repeated.")]


def plan_run(
    file: RunFile,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option(help="Model (key of `models`); default all.")] = None,
    device: Annotated[str, typer.Option(help="Device or machine: this (measured now), cpu, a100, h100, h200, frontier, dgx ...")] = "cpu",
    devices: Annotated[int | None, typer.Option(
        min=1, help="Devices in all; default: those of a node that a step has samples for.", show_default=False)] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Full nodes, instead of --devices.", show_default=False)] = None,
    store: Annotated[
        list[str] | None, typer.Option(help="DATASET=PATH of a pair store to measure halos on, when not in results/data; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, keys as in docs/costs.md.")] = False,
    fit: Annotated[bool, typer.Option("--fit", help="Propose the cheapest mesh, accumulation and checkpointing there.")] = False,
    hours: Annotated[
        float | None, typer.Option(min=0, help="With --fit: a training ends in this time, on as many of the devices.", show_default=False)
    ] = None,
    allow: Annotated[
        str | None, typer.Option(help="With --fit: science keys that may change too: tile, batch, or tile,batch.", show_default=False)
    ] = None,
) -> None:
    """What a configuration takes on a machine, before an allocation is spent: does it fit (exit 2: not), hours, disk, energy; then how."""
    from orbit2.config.load import load
    from orbit2.files import to_text
    from orbit2.notebook import NOTEBOOK
    from orbit2.plan import plan, render
    from orbit2.plan.machine import machine

    stores: dict[str, Path] = {}
    for part in store or ():
        dataset, given, path = part.partition("=")
        if not given or not path:
            raise OrbitError("not a pair store of a dataset", where="--store", got=part, allowed="DATASET=PATH",
                             hint="e.g. --store era5=results/data/era5-1a2b3c4d/pairs.zarr")  # fmt: skip
        stores[dataset] = Path(path)
    config = load(file, overrides or ())
    if not fit and (hours is not None or allow is not None):
        raise OrbitError("--hours and --allow say what --fit may do: give it too", where="--fit", hint="add --fit, or leave the two out")
    with NOTEBOOK.opened():
        if fit:
            _fit(config, model, machine(device, devices, nodes), hours, tuple(filter(None, (allow or "").split(","))), as_json)
            return
        found = plan(config, model=model, device=device, devices=devices, nodes=nodes, stores=stores)
        told = to_text(found.to_json()) if as_json else render(found, config)
    typer.echo(told, nl=not as_json)
    if not found.fits:
        raise typer.Exit(EXIT_USER)


def _fit(config: RunConfig, model: str | None, on: Machine, hours: float | None, allow: tuple[str, ...], as_json: bool) -> None:
    from orbit2.files import to_text
    from orbit2.plan import fit, fit_tasks

    found = [fit.fit(config, name, on, hours=hours, allow=allow) for name in ([model] if model else config.models)
             if name not in config.models or config.models[name].imported is None]
    tasks = [fit_tasks.fit_task(config, name, on, hours=hours, allow=allow)
             for name, section in config.downscale.items() if model in (None, section.model)]  # fmt: skip
    fits = all(one.fits for one in found) and all(one.fits for one in tasks)
    if as_json:
        told = {"models": [fit.to_json(one, config) for one in found], "tasks": [fit_tasks.to_json(one) for one in tasks]}
        typer.echo(to_text({"version": 1, "fits": fits, **told}), nl=False)
    else:
        parts = [*(fit.lines(one, config) for one in found), *(fit_tasks.lines(one) for one in tasks)]
        typer.echo("\n\n".join("\n".join(part) for part in parts))
    if not fits:
        raise typer.Exit(EXIT_USER)


def doctor(
    results: Annotated[Path, typer.Option(help="Folder whose free disk space matters.")] = Path("."),
    profile: Annotated[
        str | None, typer.Option(help="Profile (folder, or name in profiles/) that a run is to be started with.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="With --profile or --bundle: the run (YAML); default the profile's own.", show_default=False)
    ] = None,
    overrides: Overrides = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write this .zip to send with a question: versions, runs, last logs.", show_default=False)
    ] = None,
) -> None:
    """Versions, devices, credentials (found or not, never their value), disk, optional back ends. Exit 2: something needed is missing.

    With --profile: whether a run goes through with it here (queue, account, nodes, modules, space, what providers want).
    """
    from orbit2.plan.doctor import examine, render

    if profile is None and ((config is not None and bundle is None) or overrides):
        raise OrbitError("--config and --set say which run the profile is looked at for: give --profile too", where="--profile",
                         hint="e.g. --profile profiles/local")  # fmt: skip
    findings = examine(results)
    if profile is not None:
        from orbit2.config.load import load
        from orbit2.plan import preflight

        read = preflight.read(profile)
        run = config or Path(read.text.get("configfile", "config/config.yaml"))
        findings += preflight.examine(read, load(run, overrides or ()))
    typer.echo(render(findings))
    if bundle is not None:
        from orbit2.plan.bundle import bundle as write

        names = write(bundle, render(findings), run=config)
        typer.echo(f"\nwrote {bundle}: {', '.join(names)}\nCredentials and names are taken out; look through it before you send it.")
    if any(finding.level == "missing" for finding in findings):
        raise typer.Exit(EXIT_USER)


def migrate(
    results: Annotated[Path, typer.Argument(help="Folder of results, e.g. results.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done; change nothing.")] = False,
) -> None:
    """Keep results of an older orbit2: rename their folders to today's hashes. Nothing is computed, deleted or overwritten."""
    from orbit2.config.migrate import migrate as run

    if not results.is_dir():
        raise OrbitError("not a folder", where=results, hint="give the folder that holds data/ and models/")
    found = run(results, dry_run=dry_run, say=typer.echo)
    if not found.moves and not found.runs and not found.receipts:
        typer.echo("nothing to do")


def clean(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    keep: Annotated[list[Path] | None, typer.Option(help="Configuration (YAML) of a run whose data and models stay; repeatable.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete what is listed.")] = False,
) -> None:
    """List stores, models and checkpoints that no run in RESULTS needs, with their sizes; delete them only with --delete."""
    from orbit2.config.clean import delete as remove
    from orbit2.config.clean import look, told
    from orbit2.config.load import load

    found = look(results, [load(path) for path in keep or ()])
    typer.echo(told(found))
    if delete and found.unneeded:
        typer.echo(f"deleted: {remove(found) / 1e9:.2f} GB")


def unlock() -> None:
    """Remove the lock of a workflow that was killed in this folder; a new run does so itself. Exit 2 when it may be at work."""
    from orbit2.lock import release

    typer.echo(release() or "no lock here")


def stop_run(
    folder: Annotated[Path, typer.Argument(help="Folder that snakemake was started in, or one below it.")] = Path("."),
    minutes: Annotated[float, typer.Option(min=0, help="Time to save in; what is still at work then is cancelled.")] = 10.0,
) -> None:
    """Stop a run of the workflow for good: nothing more is started, jobs save and end. The command that started it goes on later."""
    from orbit2.stop import stop

    typer.echo(stop(folder, minutes))


config = typer.Typer(no_args_is_help=True, help="Check, show and document configurations.")


@config.command("check")
def config_check(file: RunFile, overrides: Overrides = None) -> None:
    """Say whether a configuration is valid; exit 2 with one line naming the first problem."""
    from orbit2.config.load import load

    run = load(file, overrides or ())
    for name, section in run.models.items():
        if section.imported is not None:
            section.imported.refuse_absent(name)
    counts = f"{len(run.datasets)} datasets, {len(run.models)} models, {len(run.downscale)} downscaling tasks"
    typer.echo(f"{file}: ok (run '{run.label}': {counts})")


@config.command("show")
def config_show(file: RunFile, overrides: Overrides = None) -> None:
    """Print the complete configuration as it would be used: included files, overrides and every default."""
    import yaml

    from orbit2.config.load import load

    run = load(file, overrides or ())
    typer.echo(yaml.safe_dump(run.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=140), nl=False)


@config.command("generate")
def config_generate(
    root: Annotated[Path, typer.Option(help="Top of the repository.")] = Path("."),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 2 when a file differs.")] = False,
) -> None:
    """Write the JSON schema and the key tables (config/README.md, docs/configuration.md) from the configuration model."""
    from orbit2.config.generate import generate

    for path in generate(root, check=check):
        typer.echo(f"wrote {path}")


model = typer.Typer(no_args_is_help=True, help="Look into models.")


@model.command("list")
def model_list() -> None:
    """List the models that `orbit2.load_model(NAME)` finds: in ORBIT2_MODELS, results/models and published."""
    from orbit2.api.shelf import lines

    for line in lines():
        typer.echo(line)


@model.command("info")
def model_info(
    path: Annotated[Path, typer.Argument(help="Model folder, or a run's configuration (YAML).", show_default=False)],
    name: Annotated[str | None, typer.Option("--model", "-m", help="Model (key of `models`) when PATH is a configuration.")] = None,
) -> None:
    """Describe a trained model folder, or a configured model without building it."""
    from orbit2.cli.models import info

    typer.echo(info(path, name))


@model.command("export")
def model_export(
    path: Annotated[Path, typer.Argument(help="Model folder.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; must not exist.", show_default=False)],
    archive: Annotated[Path | None, typer.Option("--zip", help="Pack it into this archive (.zip) too.")] = None,
) -> None:
    """Write a folder ready to publish: weights, configuration, card, licence, attribution of the data, SHA256SUMS."""
    from orbit2.cli.models import export

    for written in export(path, out, archive):
        typer.echo(f"wrote {written}")


def map_climate(
    file: Annotated[list[str], typer.Argument(help="The climate model's files, as for `orbit2 downscale`.", show_default=False)],
    model: Annotated[Path, typer.Option(help="Model folder that the result is for: its inputs, its held-out years.", show_default=False)],
    store: Annotated[Path, typer.Option(help="Pair store (pairs.zarr) that the model was trained on.", show_default=False)],
    period: Annotated[str, typer.Option(
        help="FIRST,LAST date that is fitted on, e.g. 1990-01-01,2010-12-31; never validation or test years.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="What to write: .zarr or .nc.", show_default=False)],
    rename: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS, as for `orbit2 downscale`; may be repeated.")] = None,
    accumulated: Annotated[str | None, typer.Option(help="Over how long amounts are taken, e.g. 24h, where the FILE does not say.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
) -> None:
    """Bring a climate model's files to the climate of a model's training inputs, trends kept (quantile delta mapping)."""
    first, comma, last = period.partition(",")
    if not comma:
        raise OrbitError("not a period", where="--period", got=period, allowed="two dates, e.g. 1990-01-01,2010-12-31",
                         hint="a comma between the first and the last date")  # fmt: skip
    from orbit2.cli.stages import renamed
    from orbit2.door.ingest import Reading
    from orbit2.downscale.map_climate import run

    said = Reading(renamed(rename or ()), accumulated)
    for line in run(input=file, model=model, store=store, period=(first.strip(), last.strip()), out=out, said=said, overwrite=overwrite):
        typer.echo(line)
    ended.wrote(out, "downscale it", "orbit2", "downscale", out, "--model", model, "-o", "fine.zarr")


@model.command("import")
def model_import(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoint (.ckpt), or all rank files of a split one.", show_default=False)],
    config: Annotated[Path, typer.Option(help="The YAML beside it: heads, variables, spacing, tiles.", show_default=False)],
    statistics: Annotated[Path, typer.Option(help="Folder with normalize_mean.npz and normalize_std.npz.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write; must hold no model.", show_default=False)],
    statics: Annotated[Path | None, typer.Option(help="Folder with the static fields (.npy), which the model then carries.")] = None,
    output_statistics: Annotated[Path | None, typer.Option(help="Such a folder of the fine data, for outputs; rain needs none.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset of the YAML that the weights were last trained on.")] = None,
    km: Annotated[float | None, typer.Option(min=0, help="Spacing of the inputs that the network is told; default: the YAML's.")] = None,
    grid: Annotated[str | None, typer.Option(help="Grid of the static fields; default: the nodes of a whole globe.")] = None,
    sst: Annotated[bool, typer.Option("--sst/--no-sst", help="Read the sea's temperature where the air's is an input.")] = True,
    orography_units: Annotated[str | None, typer.Option(
        help="Units of the static orography and of its statistics, m or 'm2 s-2'; default: told by the Earth's own altitude.")] = None,
) -> None:
    """Make a model folder of the published ORBIT-2 weights (docs/published_weights.md)."""
    from orbit2.model.importing import run

    for line in run(checkpoints, config, statistics, out, statics=statics, output_statistics=output_statistics, dataset=dataset, km=km,
                    grid=grid, sst=sst, orography_units=orography_units):  # fmt: skip
        typer.echo(f"warning: {line}", err=True)
    ended.wrote(out, "downscale a file of yours with it", "orbit2", "downscale", "coarse.nc", "--model", out, "-o", "fine.zarr")


def register(app: typer.Typer) -> None:
    app.command("map-climate")(map_climate)
    app.command("plan")(plan_run)
    app.command("doctor")(doctor)
    app.command("migrate")(migrate)
    app.command("clean")(clean)
    app.command("unlock")(unlock)
    app.command("stop")(stop_run)
    app.add_typer(config, name="config")
    app.add_typer(model, name="model")
