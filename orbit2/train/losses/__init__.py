"""Training losses: masked, cell-area weighted, divided over the whole global batch (paper section III-B, corrected)."""

from orbit2.train.losses.objective import Objective
from orbit2.train.losses.terms import Terms, combine, terms, total_variation

__all__ = ["Objective", "Terms", "combine", "terms", "total_variation"]
