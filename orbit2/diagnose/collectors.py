"""What the diagnose stage gathers. A new kind of diagnostic is a Collector, listed here."""

from __future__ import annotations

from orbit2.diagnose.hovmoller import Hovmoller
from orbit2.diagnose.kept import Kept
from orbit2.diagnose.members import MemberRegions
from orbit2.diagnose.skill import RegionSkill
from orbit2.metrics.collector import Collector

COLLECTORS: tuple[type[Collector], ...] = (RegionSkill, Hovmoller, Kept, MemberRegions)
