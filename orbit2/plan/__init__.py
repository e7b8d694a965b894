"""Stage plan: what a run would cost, and whether this machine can do it."""

from orbit2.plan.estimate import run

__all__ = ["run"]
