"""The page of commands, from what `--help` says."""

from __future__ import annotations

from typing import Any


def page() -> str:
    """Markdown: a section a verb, a table of its arguments and options."""
    from typer.main import get_command

    from orbit2.cli.command import VERBS, app

    group: Any = get_command(app)
    told = ["# Commands\n\nWhat `orbit2 VERB --help` says. Exit codes: 0 done, 2 a mistake of yours (one line says which), "
            "75 stopped early and resumable.\n"]  # fmt: skip
    for verb in VERBS:
        told += section(group.commands[verb], f"orbit2 {verb}", 2)
    return "\n".join(told)


def section(command: Any, name: str, level: int) -> list[str]:
    """A verb, then what it groups."""
    told = [f"{'#' * level} `{name}`\n", " ".join((command.help or "").split()) + "\n"]
    rows = [row(each) for each in command.params if not getattr(each, "hidden", False) and "--help" not in each.opts]
    if rows:
        told += ["| argument | meaning | default |\n|---|---|---|", *rows, ""]
    for key, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            told += section(below, f"{name} {key}", min(level + 1, 4))
    return told


def row(parameter: Any) -> str:
    """A line of the table."""
    option = parameter.param_type_name == "option"
    name = ", ".join([*parameter.opts, *parameter.secondary_opts]) if option else parameter.name.upper()
    default = parameter.default
    shown = "" if default in (None, False, (), []) or callable(default) or default is Ellipsis else f"`{default}`"
    if parameter.required:
        shown = "**required**"
    return f"| `{name}` | {' '.join((getattr(parameter, 'help', None) or '').split()).replace('|', chr(92) + '|')} | {shown} |"
