"""The demo's app on the test driver: real flights in, tables and alerts compared with a plain fold over the input."""

from __future__ import annotations

from collections import Counter

from streamcluster.testing import Driver
from streamcluster_coordinator.demo.data import flights_file, read_flights
from streamcluster_coordinator.demo.flights import (
    LONG_DELAY_MINUTES,
    app,
    flights,
    long_delays,
    longest_delay,
    route,
)

FLIGHTS = 300


def test_tables_and_alerts_equal_a_fold_over_the_input() -> None:
    """Every flight counts once per carrier and once per route, also across a crash; each long delay gives one alert."""
    read = list(read_flights(flights_file(), FLIGHTS))
    expected_alerts = sum(longest_delay(flight) > LONG_DELAY_MINUTES for flight in read)
    with Driver(app, partitions=4) as driver:
        for number, flight in enumerate(read):
            driver.send(flights, key=flight.carrier, value=flight)
            if number == FLIGHTS // 2:
                driver.crash()

        carriers, routes = driver.table("carrier_delays"), driver.table("route_delays")
        assert {name: row.flights for name, row in carriers.items()} == Counter(flight.carrier for flight in read)
        assert {name: row.flights for name, row in routes.items()} == Counter(route(flight) for flight in read)
        assert len(driver.output(long_delays)) == expected_alerts > 0
        assert driver.dead_letters() == []
