"""The commands that bring a Kafka of their own: broker, demo. They hand over at once and decide nothing."""

from __future__ import annotations

from pathlib import Path

import click

from ..broker import KAFKA_VERSION, pinned_versions, run_broker
from ..demo.show import show_demo


@click.command(short_help="Run a real Kafka on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), default=9092, show_default=True, help="0: any free one.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Default: a temporary one, deleted at the end."
)
@click.option("--brokers", type=click.IntRange(1, 9), default=1, show_default=True, help="More give a real cluster.")
@click.option(
    "--kafka",
    metavar="VERSION",
    default=KAFKA_VERSION,
    show_default=True,
    help=f"Another one that is pinned and checked: {', '.join(pinned_versions())}.",
)
def broker(port: int, data_dir: Path | None, brokers: int, kafka: str) -> int:
    """Run a real Apache Kafka on this machine, for development and tests. Ctrl-C stops it.

    Java also gets the flags in $KAFKA_OPTS, as from Kafka's own scripts.
    """
    return run_broker(port, data_dir, brokers, click.echo, kafka)


@click.command(short_help="Real flights through a real Kafka and an example app.")
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--flights", type=click.IntRange(min=1), help="Only so many of the 336,776 flights.")
@click.option("--keep", is_flag=True, help="Keep the broker's data and the app's state, and say where they are.")
def demo(workers: int, flights: int | None, keep: bool) -> int:
    """Run 336,776 real flights through a real Kafka and an example app, and show what came out."""
    return show_demo(workers=workers, flights_max=flights, keep=keep, say=click.echo)


COMMANDS = (broker, demo)
