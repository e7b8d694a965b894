"""Tables of the report: every number is the value of one row of a metrics table, or the quotient of two. Never scores fields."""

from orbit2.report.tables.cells import Cell, Table, between, csv_text, lower, number
from orbit2.report.tables.errors import baseline_table, gap, grey, ratio, rmse_table, sure
from orbit2.report.tables.others import all_scores, distribution_table, other_table
from orbit2.report.tables.scores import DRIED, Scores, amount, dry, heading, label, units
from orbit2.report.tables.traced import Beside, Row, plain, traced

__all__ = [
    "DRIED", "Beside", "Cell", "Row", "Scores", "Table", "all_scores", "amount", "baseline_table", "between", "csv_text",
    "distribution_table", "dry", "gap", "grey", "heading", "label", "lower", "number", "other_table", "plain", "ratio", "rmse_table",
    "sure", "traced", "units",
]  # fmt: skip
