"""Shared by every test: where the repository is, and settings that hold everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports jax: a test that mixes dtypes by accident fails.
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"

# Machines that run tests are slow at times; a deadline would only make results depend on that.
settings.register_profile("daypack", deadline=None)
settings.load_profile("daypack")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent
