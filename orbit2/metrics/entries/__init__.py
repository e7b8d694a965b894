"""What every metric of the tables is: one list of entries a topic. Never computes anything."""

from orbit2.metrics.entries.entry import BOTH, ONLY_PHYSICAL, Entry

__all__ = ["BOTH", "ONLY_PHYSICAL", "Entry"]
