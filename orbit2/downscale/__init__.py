"""Stage downscale: a trained model applied to pairs or to a user's own file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbit2.door.ingest import Reading
    from orbit2.downscale.derived import quantiles_from
    from orbit2.downscale.job import Settings
    from orbit2.downscale.predictor import Downscaler, load_model
    from orbit2.downscale.stage import downscale_file, run

__all__ = ["Downscaler", "Reading", "Settings", "downscale_file", "load_model", "quantiles_from", "run"]
_LAZY = {
    "Reading": "orbit2.door.ingest",
    "Settings": "orbit2.downscale.job",
    "Downscaler": "orbit2.downscale.predictor", "load_model": "orbit2.downscale.predictor",
    "quantiles_from": "orbit2.downscale.derived",
    "downscale_file": "orbit2.downscale.stage", "run": "orbit2.downscale.stage",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """What is asked for by this package's name: its other modules can be had without all that these load."""
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
