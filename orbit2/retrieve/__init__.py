"""Stage `retrieve`: provider files and their manifest under `resources/`. Never changes what a provider sent."""

from orbit2.retrieve.stage import run, run_adopt, run_config

__all__ = ["run", "run_adopt", "run_config"]
