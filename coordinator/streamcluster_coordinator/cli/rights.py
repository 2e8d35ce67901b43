"""`streamcluster rights`: the ACLs that an app's user needs, as commands of Kafka's tool. What they are: rights.py."""

from __future__ import annotations

import click

from streamcluster.settings import bootstrap_servers

from ..rights import kafka_acls, rights_of
from .read import declared
from .target import Target, json_option, print_json, targets_app


@click.command(short_help="Print the rights (ACLs) that an app needs.")
@targets_app
@click.option(
    "--principal", metavar="NAME", help="Whose rights. Default: User: and the app's sasl_username, or its id."
)
@click.option("--reset", is_flag=True, help="Also those for `reset --offsets --topics`.")
@json_option
def rights(target: Target, principal: str | None, reset: bool, as_json: bool) -> int:
    """Print the rights (ACLs) that an app's user needs, as commands of Kafka's own tool. No broker is asked.

    They are exact: no more than the app uses, and nothing of an app whose id begins with this one's.
    """
    app, found = declared(target)
    needed = rights_of(found, reset=reset)
    if as_json:
        print_json(needed)
        return 0
    user = principal or f"User:{app.conf.sasl_username or app.conf.app_id}"
    for line in kafka_acls(needed, user, bootstrap_servers(app.conf.broker)):
        click.echo(line)
    return 0


COMMANDS = (rights,)
