"""Stage `regrid`: coarse/fine pairs in a PairStore, part by part. Never computes with data outside the configured periods."""

from orbit2.regrid.build import build_part, finalise, initialise
from orbit2.regrid.health import inspect
from orbit2.regrid.parts import Part, plan_parts, unbuilt

__all__ = ["Part", "build_part", "finalise", "initialise", "inspect", "plan_parts", "unbuilt"]
