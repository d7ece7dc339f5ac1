"""A run: its folder, its files, and how it is found again."""

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
