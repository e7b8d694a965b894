"""The register of metrics: every name that a table of scores may hold, with what it means. Never computes a score.

Whoever adds a metric adds its Entry to a list in `orbit2/metrics/entries/` (a new topic: a new module there, and its name in TOPICS), and
writes the page anew: `python docs/metrics.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from orbit2.metrics.entries import climate, consistency, distribution, ensembles, fields, images, indices, paper, seasons, tails, thresholds
from orbit2.metrics.entries.entry import PLACES, Entry

TOPICS = (fields, tails, images, distribution, consistency, indices, ensembles, climate, seasons, thresholds, paper)
GROUPS: dict[str, tuple[Entry, ...]] = {topic.TITLE: topic.ENTRIES for topic in TOPICS}


def entries() -> tuple[Entry, ...]:
    """Every entry, in the order of the page."""
    return tuple(entry for group in GROUPS.values() for entry in group)


def pattern(name: str) -> re.Pattern[str]:
    """What an entry's `name` matches. Raises KeyError for a place that PLACES does not know."""
    parts = re.split(r"\{(\w+)\}", name)
    return re.compile("".join(re.escape(part) if i % 2 == 0 else f"(?:{PLACES[part]})" for i, part in enumerate(parts)))


@cache
def find(metric: str) -> Entry | None:
    """The entry of a metric of a table: the one of just this name, else the longest pattern that it matches; None where there is none."""
    found = [entry for entry in entries() if entry.name == metric or pattern(entry.name).fullmatch(metric)]
    return max(found, key=lambda entry: (entry.name == metric, len(re.sub(r"\{\w+\}", "", entry.name))), default=None)


def unknown(metrics: Iterable[str]) -> list[str]:
    """Those of `metrics` that have no entry, sorted."""
    return sorted({metric for metric in metrics if find(metric) is None})
