"""Judges any two products, made by orbit2 or not, with the scores of the evaluate and diagnose stages. Never changes a product."""

from orbit2.judge.run import run

__all__ = ["run"]
