"""Runs: the folder of a run, its files, and how scripts find it."""

from parts.runs.folder import (
    CHECKPOINT_KEYS,
    EVALUATION_KEYS,
    FORMAT,
    Run,
    create_run,
    find_run,
    refuse_name,
    versions,
)

__all__ = [
    "CHECKPOINT_KEYS",
    "EVALUATION_KEYS",
    "FORMAT",
    "Run",
    "create_run",
    "find_run",
    "refuse_name",
    "versions",
]
