"""Every OrbitError that the code can raise says what, where and what to do next, in one voice."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from orbit2.cli.command import app
from orbit2.errors import OrbitError, Unsaid, one_of

ROOT = Path(__file__).parents[2]


def constructed(tree: ast.AST, classes: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) in classes:
            yield node


def classes_of(sources: Iterable[str]) -> set[str]:
    """OrbitError and what is derived from it."""
    known = {"OrbitError"}
    bases = dict(found for source in sources for found in re.findall(r"^class (\w+)\(([\w., ]+)\):", source, flags=re.M))
    while more := {name for name, above in bases.items() if known & set(re.findall(r"\w+", above))} - known:
        known |= more
    return known


def text(node: ast.expr | None) -> str | None:
    """A literal text, braces for what is filled in; None for an expression."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def wrong(call: ast.Call) -> str | None:
    """What the message lacks."""
    said: dict[str | None, ast.expr] = {keyword.arg: keyword.value for keyword in call.keywords}
    what = call.args[0] if call.args else said.get("what")
    for name, value in (("what", what), ("where", said.get("where")), ("hint", said.get("hint"))):
        if value is None or (isinstance(value, ast.Constant) and not value.value):
            return f"no {name}"
        if isinstance(value, ast.IfExp) and any(getattr(part, "value", part) is None for part in (value.body, value.orelse)):
            return f"a {name} that may be none"
        words = text(value)
        if words is not None and re.fullmatch(r"\S(.*[^\s.!;]|.*\.\.\.)?", words, flags=re.S) is None:
            return f"{name} is not a clause without a stop at its end: {words!r}"
    if text(what) is not None and text(what) == text(said["hint"]):
        return "the hint says what, again"
    return None


@cache
def raised() -> list[tuple[str, ast.Call]]:
    """("orbit2/errors.py:12", the call) of every error that the code makes."""
    sources = {path: path.read_text() for path in sorted((ROOT / "orbit2").rglob("*.py"))}
    classes = classes_of(sources.values())
    assert {"Unsaid", "_Fatal"} < classes
    raising = re.compile(rf"\b({'|'.join(classes)})\(")
    found = [(f"{path.relative_to(ROOT)}:{call.lineno}", call)
             for path, source in sources.items() if raising.search(source) for call in constructed(ast.parse(source), classes)]  # fmt: skip
    assert len(found) > 700  # or they are not found any more
    return found


def test_every_error_says_what_where_and_what_to_do_next() -> None:
    lacking = [f"{place}: {fault}" for place, call in raised() if (fault := wrong(call))]
    assert not lacking, "\n".join(lacking)


def told(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Every command below `command`, with its options."""
    yield name, {"--help"}.union(*((*option.opts, *option.secondary_opts) for option in command.params))
    for word, below in getattr(command, "commands", {}).items():
        yield from told(below, f"{name} {word}")


def test_what_is_to_be_done_next_can_be_typed() -> None:
    """Options and commands of the hints are there (their literal parts)."""
    known = dict(told(typer.main.get_command(app), "orbit2"))
    options, seen = set().union(*known.values()), 0
    for place, call in raised():
        hints = [part.value for keyword in call.keywords if keyword.arg == "hint" for part in ast.walk(keyword.value)
                 if isinstance(part, ast.Constant) and isinstance(part.value, str)]  # fmt: skip
        for hint in hints:
            asked = re.findall(r"(?<![\w-])--[a-z][a-z-]+", hint)
            commands = re.findall(r"`(orbit2 [a-z-]+)", hint)
            seen += len(asked) + len(commands)
            assert set(asked) <= options and set(commands) <= set(known), f"{place}: {hint}"
    assert seen > 60


def test_the_workflow_too() -> None:
    for path in sorted((ROOT / "workflow").rglob("*.smk")):
        for call in re.finditer(r"raise OrbitError\((.*?)\n\s*(?!\s|where|got|allowed|hint|f?\")", path.read_text() + "\n#", flags=re.S):
            assert "where=" in call[1] and "hint=" in call[1], f"{path.name}: {call[1]}"


@pytest.mark.parametrize(("source", "fault"), [
    ('OrbitError("no file", where=path, hint="give one")', None),
    ('OrbitError("no file", where=path)', "no hint"),
    ('OrbitError("no file", hint="give one")', "no where"),
    ('OrbitError("no file", where=None, hint="give one")', "no where"),
    ('OrbitError("no file", where=path, hint="")', "no hint"),
    ('OrbitError("no file", where=path, hint="give one" if few else None)', "may be none"),
    ('OrbitError("No file.", where=path, hint="give one")', "without a stop"),
    ('OrbitError("give one", where=path, hint="give one")', "again"),
])  # fmt: skip
def test_what_a_message_may_lack(source: str, fault: str | None) -> None:
    (call,) = constructed(ast.parse(source), {"OrbitError"})
    found = wrong(call)
    assert found is None if fault is None else fault in str(found)


def test_no_error_can_be_made_without() -> None:
    with pytest.raises(TypeError, match="hint"):
        OrbitError("no file", where="x.nc")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="where"):
        OrbitError("no file", hint="give one")  # type: ignore[call-arg]
    assert str(OrbitError("no file", where="x.nc", got="y", allowed="z", hint="give one")) == "x.nc: no file; got 'y'; allowed: z; give one"


def test_a_hint_beside_choices() -> None:
    assert one_of("bilinea", ("bilinear", "nearest")) == "did you mean 'bilinear'?"
    assert one_of("qqq", ("bilinear", "nearest")) == "choose one of these"


def test_an_error_goes_whole_from_one_process_to_another() -> None:
    """As ranks send it to each other, and workers to who waits for them."""
    for error in (OrbitError("no such thing", where="here", got=3, allowed="1", hint="take 1"),
                  Unsaid("nobody says", ("files.day_starts",), where="here", hint="say it")):  # fmt: skip
        made = pickle.loads(pickle.dumps(error))
        assert type(made) is type(error) and str(made) == str(error) and vars(made) == vars(error)
