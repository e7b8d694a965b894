"""Stage `statistics`: mean and spread of every field, from the training period only. Never reads validation or test samples."""

from orbit2.statistics.stage import run

__all__ = ["run"]
