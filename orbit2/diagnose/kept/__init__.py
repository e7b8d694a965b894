"""Days of a task, kept small: what regions, thresholds and seasons are asked of when the parts are summed. Never the whole field of a day.

`Kept` is the collector that writes them into a task's parts; `read` opens them again, lazily, as `KeptDays`.
"""

from orbit2.diagnose.kept.collector import Kept
from orbit2.diagnose.kept.days import INPUT, TRUTH, KeptDays, read

__all__ = ["INPUT", "TRUTH", "Kept", "KeptDays", "read"]
