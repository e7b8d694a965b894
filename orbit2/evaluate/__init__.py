"""The evaluate stage: scores of a prediction and of every baseline on the same cells. Never trains, never changes a prediction."""

from orbit2.evaluate.fitting import fit
from orbit2.evaluate.run import run

__all__ = ["fit", "run"]
