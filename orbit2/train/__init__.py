"""Stages train and finetune: from paired stores to a self-describing model."""

from orbit2.train.trainer import run

__all__ = ["run"]
