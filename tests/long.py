"""What takes long is run by a command; docs/testing.md says by which, and what shows the same in `scripts/test`."""

from __future__ import annotations

import os

import pytest

LONG = bool(os.environ.get("STREAMCLUSTER_LONG"))
only_long = pytest.mark.skipif(not LONG, reason="long: STREAMCLUSTER_LONG=1 runs it")
