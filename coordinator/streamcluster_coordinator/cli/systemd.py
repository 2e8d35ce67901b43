"""`streamcluster systemd`: prints the unit of an app. What is in it is decided in systemd_unit."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from streamcluster.errors import ConfigurationError
from streamcluster.printable import printable

from .target import Target, targets_app
from .unit import app_unit, is_in_home, template_unit


@click.command(short_help="Print the systemd unit of an app.")
@targets_app
def systemd(target: Target) -> int:
    """Print a systemd unit that runs the app as it would be run here: this Python, this directory, these options.

    \b
    streamcluster systemd -A orders:app > /etc/systemd/system/streamcluster-orders.service
    systemctl enable --now streamcluster-orders

    Settings of a streamcluster.toml in this directory and of /etc/streamcluster/<app id>.env count when it starts.
    """
    _, settings = target.load()
    if settings.state_dir is not None:
        raise ConfigurationError(
            f"state_dir is set to {settings.state_dir!r}, which the unit could not write to: systemd gives the service "
            f"/var/lib/streamcluster/{settings.app_id}. Leave state_dir out."
        )
    options = click.get_current_context().params
    # Not resolved: in a virtual environment this is a link, and the place of the link is what makes it one.
    command = [os.path.abspath(sys.executable), "-m", "streamcluster", "start", "-A", target.reference]
    if any(c in command[0] for c in "\"'\\"):
        raise ConfigurationError(
            f"systemd starts no program with a quote or backslash in its path: {command[0]}. Move it."
        )
    if options["broker"]:
        command += ["--broker", options["broker"]]
    if options["config"]:
        command += ["--config", str(options["config"].absolute())]
    directory = str(Path.cwd())
    if odd := [word for word in (*command, directory) if printable(word) != word]:
        # A newline would begin a line of the unit.
        raise ConfigurationError(f"a unit cannot have control characters in it: {printable(odd[0])}. Rename it.")
    click.echo(app_unit(settings, command, directory).text(), nl=False)
    for path in (command[0], directory):
        if is_in_home(path):
            click.echo(
                f"streamcluster: warning: {path} is in a home: the unit's own user (DynamicUser) must be able to read "
                "it. Better install the app in /opt.",
                err=True,
            )
    return 0


@click.command("systemd-template", hidden=True)
def systemd_template() -> int:
    """Print deploy/streamcluster@.service."""
    click.echo(template_unit().text(), nl=False)
    return 0


COMMANDS = (systemd, systemd_template)
