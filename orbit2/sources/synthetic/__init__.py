"""A test world: daily rain and temperature from a formula and a seed, of which every truth is known. No weather, and never called so."""

from orbit2.sources.synthetic.world import World

__all__ = ["World"]
