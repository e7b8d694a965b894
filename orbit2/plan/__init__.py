"""Stage plan: what a run would cost, and whether a machine can do it."""

from orbit2.plan.estimate import plan, plan_on
from orbit2.plan.text import render

__all__ = ["plan", "plan_on", "render"]
