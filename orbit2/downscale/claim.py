"""Who computes which share of a prediction: blocks side by side, never one share twice. Never touches the store itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orbit2 import owner
from orbit2.downscale.items import parse_block

MIXING = "mixing"  # the owner file of whoever assembles what crosses the blocks


def owner_file(store: Path, share: str) -> Path:
    """The owner file of a share of the prediction at `store`; it lies beside it."""
    return store.with_name(f".{store.name}.{share}.{owner.NAME}")


@contextmanager
def claimed(store: Path, block: str | None, first: bool = True) -> Iterator[None]:
    """This `block` (`i/n`, `init`, `finalise`; None: all of it) for one job; only its `first` rank claims.

    Beside a block may work the others of the same cut, beside anything else nobody. Raises OrbitError while somebody else does.
    """
    if not first:
        yield
        return
    number, blocks = parse_block(block) if block not in (None, "init", "finalise") else (0, 0)
    mine = owner_file(store, f"{number}of{blocks}" if blocks else block or "whole")
    what = f"computes block {block} of this prediction" if blocks else "makes this prediction"

    def rivals() -> list[Path]:
        beside = {mine, owner_file(store, MIXING), *(owner_file(store, f"{i}of{blocks}") for i in range(blocks))}
        return sorted(set(store.parent.glob(f".{store.name}.*.{owner.NAME}")) - beside)

    with owner.hold(mine, what, rivals=rivals):
        yield
