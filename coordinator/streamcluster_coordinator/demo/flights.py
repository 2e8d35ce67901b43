"""The demo's app, written as any user would write one: delay statistics per carrier and per route, and alerts.

Start it yourself against any broker that has a topic `flights`:
    streamcluster start -A streamcluster_coordinator.demo.flights:app --workers 2
"""

from __future__ import annotations

import streamcluster

LONG_DELAY_MINUTES = 180

app = streamcluster.App("flights-demo", broker="kafka://localhost:9092", store="rocksdb://")


class Flight(streamcluster.Record):
    """One flight of New York's airports in 2013. Delays are minutes; None: it never left, or never arrived."""

    carrier: str
    flight: int
    origin: str
    dest: str
    scheduled: str
    dep_delay: int | None = None
    arr_delay: int | None = None


class Delays(streamcluster.Record):
    """What is kept per carrier and per route. cancelled: flights that never left; total and worst: minutes."""

    flights: int = 0
    cancelled: int = 0
    arrived: int = 0
    total: int = 0
    worst: int = 0


class Alert(streamcluster.Record):
    """A flight that was far too late."""

    carrier: str
    flight: int
    route: str
    scheduled: str
    minutes: int


flights = app.topic("flights", key_type=str, value_type=Flight)
# Partitions are named, so streamcluster creates this topic when it is missing.
long_delays = app.topic("long-delays", key_type=str, value_type=Alert, partitions=4)

carrier_delays = app.Table("carrier_delays", key_type=str, value_type=Delays, default=Delays)
route_delays = app.Table("route_delays", key_type=str, value_type=Delays, default=Delays)


def route(flight: Flight) -> str:
    """Where from and where to: the key that the second agent counts by."""
    return f"{flight.origin}-{flight.dest}"


def longest_delay(flight: Flight) -> int:
    """The larger of both delays, in minutes; 0 when neither is known."""
    return max(flight.dep_delay or 0, flight.arr_delay or 0)


def with_flight(delays: Delays, flight: Flight) -> Delays:
    """`delays` with one more flight in it."""
    arrived = flight.arr_delay is not None
    minutes = flight.arr_delay or 0
    return Delays(
        flights=delays.flights + 1,
        cancelled=delays.cancelled + (flight.dep_delay is None),
        arrived=delays.arrived + arrived,
        total=delays.total + minutes,
        worst=max(delays.worst, minutes),
    )


@app.agent(flights)
async def watch_carriers(stream: streamcluster.Stream[Flight]) -> None:
    """The records are keyed by carrier, so each carrier's statistics live in the task that reads its flights."""
    async for flight in stream:
        carrier_delays[flight.carrier] = with_flight(carrier_delays[flight.carrier], flight)
        if longest_delay(flight) > LONG_DELAY_MINUTES:
            alert = Alert(
                carrier=flight.carrier,
                flight=flight.flight,
                route=route(flight),
                scheduled=flight.scheduled,
                minutes=longest_delay(flight),
            )
            await long_delays.send(key=flight.carrier, value=alert)


@app.agent(flights)
async def watch_routes(stream: streamcluster.Stream[Flight]) -> None:
    """`group_by` sends each flight once more, keyed by its route, so that one task sees all flights of a route."""
    async for flight in stream.group_by(route, name="route"):
        route_delays[route(flight)] = with_flight(route_delays[route(flight)], flight)


if __name__ == "__main__":
    app.main()
