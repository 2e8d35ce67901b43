"""The commands that run an app and look whether it can run: start, check. They hand over at once and decide nothing."""

from __future__ import annotations

import asyncio
import shutil
import signal

import click

from streamcluster.config.security import loose_secrets
from streamcluster.errors import ConfigurationError, ExitCode
from streamcluster.topology import Topology
from streamcluster.topology.declare import freeze

from ..admin.samples import read_samples
from ..checking import error_of
from ..leftovers import refusal, texts
from ..memory_words import memory_words
from ..samples import texts_of
from ..shell.notify import take_over_notifications
from ..shell.presentation import make_presentation
from ..start import check as check_app
from ..start import run
from .target import Target, as_seconds, json_option, print_json, say, targets_app
from .view import topology_text

LOG_FORMATS = click.Choice(["auto", "text", "json"])
LOG_LEVELS = click.Choice(["debug", "info", "warning", "error"])


@click.command(short_help="Run an app on this host.")
@targets_app
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes. Default: one per core.")
@click.option("--host", metavar="NAME", help="This host's name in the cluster. Default: the machine's name.")
@click.option("--rack", metavar="NAME", help="Where this host is: standbys go to other racks than their owners.")
@click.option(
    "--advertise", metavar="HOST:PORT", help="Where other hosts may ask for rows of tables. Needs a shared secret."
)
@click.option("--listen", metavar="HOST:PORT", help="Where to open that port. Default: where it is advertised.")
@click.option("--log-format", type=LOG_FORMATS, help="auto: text on a terminal, JSON lines otherwise.")
@click.option("--log-level", type=LOG_LEVELS, help="Default: info.")
@click.option(
    "--drain-timeout", callback=as_seconds, metavar="DURATION", help="To finish and commit after SIGTERM. Default: 25s."
)
@click.option(
    "--connect-timeout", callback=as_seconds, metavar="DURATION", help="To find a broker at the start. Default: 30s."
)
@click.option("--leave", is_flag=True, help="Go on without what an earlier version of the app left in its topics.")
def start(target: Target, leave: bool) -> int:
    """Run an app on this host: a coordinator and its workers.

    SIGTERM or Ctrl-C drains (a second Ctrl-C stops now), SIGHUP restarts the workers one by one, SIGUSR1 logs the
    stacks of all processes, SIGTTIN adds a worker, SIGTTOU takes one away.
    """
    # The app is imported by the processes that run it, not by this one, so only what the operator set counts here.
    log_format = str(target.overrides.get("log_format", "auto"))
    log_level = str(target.overrides.get("log_level", "info"))
    presentation = make_presentation(log_format, log_level, columns=shutil.get_terminal_size().columns)
    # Until there is something to drain.
    signal.signal(signal.SIGTERM, _end_now)
    try:
        presenter = take_over_notifications(presentation)
        return run(target.reference, dict(target.overrides), say=presenter, leave=leave)
    finally:
        presentation.close()


def _end_now(_number: int, _frame: object) -> None:
    """SIGTERM before the app runs: clean up, and end as asked."""
    raise SystemExit(ExitCode.DRAINED)


@click.command(short_help="Compare an app with the brokers; change nothing.")
@targets_app
@click.option(
    "--samples", is_flag=True, help="Read a few records of each source: keys elsewhere, what does not decode."
)
@json_option
def check(target: Target, samples: bool, as_json: bool) -> int:
    """Load the app, compare it with what the brokers have, and show its topology. Changes nothing."""
    description, found, seen, left = check_app(target.reference, dict(target.overrides))
    app_id = description.settings.app_id
    warnings = [*loose_secrets(description.settings), *seen, *texts(left, app_id)]
    problems = found if isinstance(found, list) else []
    topology = None if isinstance(found, list) else found
    if samples and topology is not None:
        warnings += sampled(target, topology)
    if as_json:
        memory = memory_words(description.settings)
        answer = {"app": app_id, "problems": problems, "topology": topology, "warnings": warnings}
        print_json({**answer, "left": left, "memory": memory, "native": description.native})
    elif topology is not None:
        click.echo(topology_text(topology, description.settings))
        click.echo(f"\nOn this host {memory_words(description.settings)};\n{description.native}.")
    for warning in warnings:
        say(f"streamcluster: warning: {warning}", err=True)
    if problems:
        raise error_of(problems)
    if left:
        raise ConfigurationError(refusal(left, app_id))
    return 0


def sampled(target: Target, topology: Topology) -> list[str]:
    """What a few records say of the app's sources."""
    # Its codecs are needed here: the app is imported by this process too.
    app, settings = target.load()
    plan, _ = asyncio.run(freeze(app))
    return texts_of(read_samples(settings, topology), topology, plan.sources(), settings.producer_max_request_size)


COMMANDS = (start, check)
