"""Folders of the embedded catalog and of a local warehouse: creation, and a write check."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ohlcv.model.errors import InputError


def create_folder(folder: Path, role: str) -> None:
    """Create a folder if it is missing. Raise InputError if it cannot be created or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(_describe_error(folder, role, error)) from None
    if problem := find_folder_problem(folder, role):
        raise InputError(problem)


def existing_folder(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists: a missing folder is created on first use."""
    # Not Path.exists(): it raises an error for a folder that may not be searched.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))


def find_folder_problem(folder: Path, role: str) -> str | None:
    """Return one line that says why a folder cannot be written and what to do, or None if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return _describe_error(folder, role, error)


def _describe_error(folder: Path, role: str, error: OSError) -> str:
    return f"{role} {folder} is not writable ({error.strerror}): choose another folder or grant access"
