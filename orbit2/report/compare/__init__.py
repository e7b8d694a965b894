"""Several runs beside each other: a scorecard, and differences with their significance. Never opens a prediction."""

from orbit2.report.compare.page import run

__all__ = ["run"]
