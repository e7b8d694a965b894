"""The report stage: one self-contained page from what the other stages wrote. Never computes a score of its own."""

from orbit2.report.pages.assembly import run

__all__ = ["run"]
