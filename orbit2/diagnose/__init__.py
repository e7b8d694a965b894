"""The diagnose stage: skill by region and Hovmöller diagrams. Never invents a number that the record is too short for."""

from orbit2.diagnose.run import run

__all__ = ["run"]
