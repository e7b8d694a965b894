"""What only the user knows, by name: the flag that says it, the question on a terminal, and what an answer may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from orbit2.door.given import hours
from orbit2.errors import OrbitError, Unsaid, did_you_mean, one_of
from orbit2.variables import VARIABLES, variable

T = TypeVar("T")
Said = dict[str, Any]  # what the user has said, by key


@dataclass(frozen=True)
class Question:
    """`key` of the answer, `flag` that says it on the command line, `text` of the question, `allowed` answers in words. `read` turns an
    answer into a value; raises OrbitError for one that is not allowed."""

    key: str
    flag: str
    text: str
    allowed: str
    read: Callable[[str], Any]


Ask = Callable[[Question, OrbitError], str]  # the question, and why it is asked; raises OrbitError where nobody can be asked


def _choice(flag: str, *choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.strip() not in choices:
            raise OrbitError("not one of the choices", where=flag, got=text, allowed=", ".join(choices), hint=one_of(text, choices))
        return text.strip()

    return read


def _hour(flag: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = float("nan")
        if not -24 <= found <= 24:
            raise OrbitError("not an hour", where=flag, got=text, allowed="-24 to 24: hours after 00:00 UTC of the date",
                             hint="0 is midnight UTC")  # fmt: skip
        return found

    return read


def _factor(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 2:
        raise OrbitError("not a number of cells", where="--factor", got=text, allowed="2, 3, 4, ...",
                         hint="fine cells along a side of a coarse one")  # fmt: skip
    return int(text)


def _period(text: str) -> str:
    hours(text, "--accumulated")
    return text.strip()


def renamed(text: str) -> dict[str, str]:
    """`THEIRS=OURS`, several with commas between, as a mapping. Raises OrbitError for another form or a name that is no variable's."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        theirs, sign, ours = (word.strip() for word in part.partition("="))
        if not sign or not theirs:
            raise OrbitError("not of the form THEIRS=OURS", where="--rename", got=part, allowed="e.g. tg=2m_temperature",
                             hint="their name, an equals sign, orbit2's name")  # fmt: skip
        if ours not in VARIABLES:
            raise OrbitError("no such variable", where="--rename", got=ours, allowed="a name of orbit2's (docs/own_data.md)",
                             hint=did_you_mean(ours, VARIABLES) or "others are declared under `variables:` of a YAML")  # fmt: skip
        found[theirs] = variable(ours).name
    return found


_SIDES = ("coarse", "fine")
QUESTIONS: Mapping[str, Question] = {question.key: question for question in (
    Question("factor", "--factor", "How many fine cells along a side make one coarse cell?", "2, 3, 4, ...", _factor),
    Question("accumulated", "--accumulated", "Over how long are the amounts of rain taken?", "e.g. 1h, 24h", _period),
    Question("fine_grid", "--fine-grid", "Which named grid shall the fine files be averaged to?", "e.g. global_0.25@42,44,7,11", str.strip),
    Question("rename", "--rename", "Which field is which variable (THEIRS=OURS)?", "e.g. tg=2m_temperature", renamed),
    *(Question(f"day_starts.{side}", f"--{side}-day", f"When does a day of the {side} files begin, in hours after 00:00 UTC of its date?",
               "0: midnight, -12: noon of the day before, 6: 06:00 UTC", _hour(f"--{side}-day")) for side in _SIDES),
    *(Question(f"stamps.{side}", f"--{side}-stamp", f"What of its hour does a time of the {side} files name?", "end (ERA5), begin, middle",
               _choice(f"--{side}-stamp", "end", "begin", "middle")) for side in _SIDES),
)}  # fmt: skip


def answers(given: Mapping[str, Any]) -> Said:
    """What is said by the names of the flags (`coarse_day`, ...), checked. Raises OrbitError for a name that is none."""
    keys = {question.flag.removeprefix("--").replace("-", "_"): question for question in QUESTIONS.values()}
    found: Said = {}
    for name, value in given.items():
        if name in ("inputs", "outputs"):
            found[name] = [value] if isinstance(value, str) else list(value)
        elif name == "credit":
            found[name] = value
        elif name in keys:
            text = ",".join(f"{theirs}={ours}" for theirs, ours in value.items()) if isinstance(value, Mapping) else str(value)
            found[keys[name].key] = keys[name].read(text)
        elif name != "statics":
            raise OrbitError("nothing that can be said of files", where="answers", got=name,
                             allowed=", ".join([*keys, "inputs", "outputs", "statics", "credit"]), hint=one_of(name, keys))
    return found


def settled(work: Callable[[], T], said: Said, ask: Ask) -> T:
    """`work()`, once all that it cannot know was asked for: answers go into `said`, which it reads."""
    while True:
        try:
            return work()
        except Unsaid as error:
            for key in error.keys:
                answer = QUESTIONS[key].read(ask(QUESTIONS[key], error))
                said[key] = {**said.get(key, {}), **answer} if isinstance(answer, dict) else answer


def no_one(question: Question, error: OrbitError) -> str:
    """Where nobody can be asked: an error that names the flag."""
    flags = [QUESTIONS[key].flag for key in error.keys] if isinstance(error, Unsaid) else [question.flag]
    raise OrbitError(error.what, where=error.where, got=error.got, allowed=question.allowed,
                     hint=f"say it with {' and '.join(flags)}") from None  # fmt: skip
