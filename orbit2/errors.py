"""The one way orbit2 tells a user what went wrong. Never carries a traceback to the terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

EXIT_DONE = 0
EXIT_USER = 2
EXIT_RESUMABLE = 75
FAULT = "this is a fault of orbit2 itself: report it with `orbit2 doctor --bundle FILE.zip`"  # hint of what no user can mend


class OrbitError(Exception):
    """A user's mistake or a bad input: what failed, where, the value, what is allowed, what to do next.

    Printed as one readable line by the CLI, which then exits with code 2. `where`: a file, key, option or argument. `everywhere`: every
    rank of a job raises it alike, and the first one speaks for all.
    """

    everywhere = False

    def __init__(
        self,
        what: str,
        *,
        where: object,
        got: object = None,
        allowed: object = None,
        hint: str,
    ) -> None:
        self.what, self.where, self.got, self.allowed, self.hint = what, where, got, allowed, hint
        parts = [f"{where}: {what}"]
        if got is not None:
            parts.append(f"got {got!r}" if isinstance(got, str) else f"got {got}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        super().__init__("; ".join([*parts, hint]))

    def __reduce__(self) -> tuple[object, ...]:
        """Between processes, as ranks and workers send it: whole, whatever its kind is made from."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[OrbitError], told: tuple[object, ...], held: dict[str, object]) -> OrbitError:
    made = kind.__new__(kind, *told)
    made.__dict__.update(held)
    return made


class Unsaid(OrbitError):
    """What no file says and only the user knows: `keys`, as a dataset's section names them (`files.day_starts.fine`)."""

    def __init__(
        self, what: str, keys: tuple[str, ...], *, where: object, got: object = None, allowed: object = None, hint: str
    ) -> None:
        self.keys = keys
        super().__init__(what, where=where, got=got, allowed=allowed, hint=hint)


class Interrupted(Exception):
    """Work stopped early on purpose (signal or deadline) and can be resumed; the CLI exits with code 75.

    `reached`: how far it came, where that is known. `asked`: somebody wants it to stop, no time limit does.
    """

    def __init__(self, what: str, *, reached: Reached | None = None, asked: bool = False) -> None:
        self.reached, self.asked = reached, asked
        super().__init__(what)


@dataclass(frozen=True)
class Reached:
    """Of `of` steps or items, those done before this try began, and now."""

    began: int
    done: int
    of: int
    unit: str


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice most like `name`, or None: for "did you mean" hints."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return found[0] if found else None


def did_you_mean(name: str, choices: Iterable[str]) -> str | None:
    close = nearest(name, choices)
    return f"did you mean '{close}'?" if close else None


def one_of(name: str, choices: Iterable[str]) -> str:
    """A hint beside the choices, which the message lists."""
    return did_you_mean(name, choices) or "choose one of these"
