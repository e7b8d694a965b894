"""`orbit2 run`, `orbit2 profile`, `orbit2 completion`: the workflow without a checkout. Never computes anything itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from orbit2 import places
from orbit2.cli.ended import wrote
from orbit2.errors import EXIT_DONE, EXIT_RESUMABLE, OrbitError, one_of

BEHIND = "orbit2.words"  # of a call: what stands behind --
COMPLETE = "_ORBIT2_COMPLETE"  # set by a shell that asks what may come next
SHELLS = ("bash", "zsh", "fish")


class Behind(TyperCommand):
    """Keeps what stands behind `--` apart: it is Snakemake's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[BEHIND] = args[at + 1 :]
        rest: list[str] = super().parse_args(ctx, args[:at])
        return rest


def _targets(incomplete: str) -> list[str]:
    return [word for word in ("all", *places.STAGES) if word.startswith(incomplete)]


def _profiles(incomplete: str) -> list[str]:
    return [name for name in places.profiles() if name.startswith(incomplete)]


def _runs(incomplete: str) -> list[str]:
    """Shipped runs, and what YAML lies there."""
    folder = Path(incomplete).parent if "/" in incomplete else Path()
    here = [str(path) for path in folder.glob("*.yaml")] if folder.is_dir() else []
    return [name for name in (*sorted(here), *places.runs()) if name.startswith(incomplete)]


def run(
    ctx: typer.Context,
    config: Annotated[str, typer.Argument(
        help="The run: its YAML, or the name of one that ships (demo).", show_default=False, autocompletion=_runs)],
    target: Annotated[str, typer.Argument(help="A stage's word: that stage and what it needs; or all.", autocompletion=_targets)] = "all",
    profile: Annotated[str, typer.Option(
        "--profile", "-p", help="Where it runs: a folder, or a name in ./profiles or that ships.", autocompletion=_profiles)] = "local",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="dotted.key=value, laid over the file; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would run; run nothing.")] = False,
) -> None:
    """Run a configuration from data to report, or up to one stage; results/ is written in the current folder. Started again, it goes on.

    What stands behind `--` goes to Snakemake: `orbit2 run my_run.yaml train -- --cores 4`.
    """
    from orbit2.start import workflow

    more = [*(["--dry-run"] if dry_run else []), *ctx.meta.get(BEHIND, [])]
    code = workflow.run(workflow.words(config, target, overrides or (), profile, more))
    if code == EXIT_RESUMABLE:
        typer.echo("stopped early, can be resumed: the same command goes on", err=True)
    elif code == 1:
        typer.echo("the run did not come to its end: what went wrong stands above; the same command goes on", err=True)
    if code != EXIT_DONE:
        raise typer.Exit(code)


def profile(
    name: Annotated[str | None, typer.Argument(help="One that ships.", show_default=False, autocompletion=_profiles)] = None,
) -> None:
    """List the profiles; with NAME: copy one into ./profiles, to be edited there (account, partition, memory) and run with `-p NAME`."""
    import shutil

    if name is None:
        for known in places.profiles():
            typer.echo(f"{known:<12}{places.profile(known)}")
        return
    source, copy = places.PROFILES / name, places.HERE / name
    shipped = sorted(path.parent.name for path in places.PROFILES.glob("*/config.yaml"))
    if name not in shipped:
        raise OrbitError("no such profile", where="orbit2 profile", got=name, allowed=", ".join(shipped), hint=one_of(name, shipped))
    if copy.exists():
        raise OrbitError("is there already", where=copy, hint="edit it, or move it away first")
    shutil.copytree(source, copy)
    wrote(copy, f"edit {copy}/config.yaml, then run with it", "orbit2", "run", "CONFIG", "-p", name)


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", autocompletion=lambda: list(SHELLS))]) -> None:
    """Print what makes a shell complete verbs, options, stages, runs and profiles: `source <(orbit2 completion bash)` in ~/.bashrc."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined] # what --show-completion prints

    if shell not in SHELLS:
        raise OrbitError("not a shell that is known", where="orbit2 completion", got=shell, allowed=", ".join(SHELLS),
                         hint=one_of(shell, SHELLS))  # fmt: skip
    typer.echo(get_completion_script(prog_name="orbit2", complete_var=COMPLETE, shell=shell))


def asked_by_a_shell() -> None:
    """Where a shell asks what may come next: typer answers it."""
    if COMPLETE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()


def register(app: typer.Typer) -> None:
    app.command("run", cls=Behind)(run)
    app.command("profile")(profile)
    app.command("completion")(completion)
