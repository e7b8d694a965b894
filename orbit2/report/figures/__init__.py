"""Figures of the report, drawn from rows and small files that stages wrote. Never computes a score."""
