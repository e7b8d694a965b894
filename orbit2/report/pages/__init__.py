"""Words, sections and pages of the report. Never draws, never computes a score."""
