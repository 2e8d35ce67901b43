"""What tests of event time share: drivers on each store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamcluster import App
from streamcluster.testing import Driver
from tests.event_time.stores import make_rocks


@pytest.fixture(params=["memory", "rocks"])
def drive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Drivers on the store under test."""
    drivers: list[Driver] = []

    def make(app: App, **options: Any) -> Driver:
        drivers.append(
            Driver(app, make_store=make_rocks(tmp_path)(app) if request.param == "rocks" else None, **options)
        )
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()
