"""The systemd unit of an app, made from one template: deploy/streamcluster@.service and `streamcluster systemd`.

It decides the text alone (pure). It does not know whether systemd is there, and installs nothing.
"""

from __future__ import annotations

from pathlib import PurePosixPath

import msgspec

from streamcluster.settings import Settings

# A worker that is silent is replaced by its coordinator within this many seconds more than the stall time-out; only
# when that fails too may the watchdog end the whole service.
_WATCHDOG_MARGIN_SECONDS = 30
# After the drain, workers that did not end are killed and the control log is closed.
_STOP_MARGIN_SECONDS = 20
# Where ProtectHome=yes shows empty directories.
_HOMES = tuple(PurePosixPath(path) for path in ("/home", "/root", "/run/user"))

_TEMPLATE = """\
# {origin}
# What each choice is for, and what to change: docs/deploy.md.

[Unit]
Description=streamcluster app {name}
Wants=network-online.target
After=network-online.target
# A broker that is away for an hour must not end the restarts for good.
StartLimitIntervalSec=0

[Service]
# From systemd 253 on the second line counts, and `systemctl reload` waits until the rolling restart of the workers is
# over. Before, it is ignored with a warning; docs/deploy.md has the two lines that make reload work there.
Type=notify
Type=notify-reload
NotifyAccess=main
{source}
WorkingDirectory={directory}
ExecStart={command}

# READY=1 comes with the first worker that has joined; it waits for a broker until then. A reload has as long.
TimeoutStartSec=5min
# Above stall_timeout ({stall:g} s): a worker that is stuck is replaced before the service is given up.
WatchdogSec={watchdog:.0f}
# Above drain_timeout ({drain:g} s). SIGTERM goes to the coordinator, which drains its workers; SIGKILL to what is left.
TimeoutStopSec={stop:.0f}
KillMode=mixed
Restart=always
RestartSec=5
# Wrong usage, incompatible state, a wrong setting or app: a restart does not help. Fenced (76): another host has taken
# the app over, and a restart would take it back.
RestartPreventExitStatus=2 65 76 78
# A worker that the kernel kills for its memory is replaced; the others go on.
OOMPolicy=continue
LimitNOFILE=65536

# State is in /var/lib/streamcluster/{name}/<app id>; it is only a cache of Kafka, but one that saves the restore.
StateDirectory=streamcluster/{name}
StateDirectoryMode=0700
# For what the app itself puts there; streamcluster keeps nothing in it.
RuntimeDirectory=streamcluster/{name}
# A secret that the settings name without a slash (sasl_password_file = "kafka-password") is looked for here.
#LoadCredential=kafka-password:/etc/streamcluster/{name}.password

DynamicUser=yes
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# Python, RocksDB and librdkafka do not need it; an app with a compiler at run time (numba, torch) must take it out.
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


class Unit(msgspec.Struct, frozen=True):
    """One unit. name: of the app, in directories; source: lines on where the settings come from; command: ExecStart."""

    name: str
    origin: str
    source: str
    directory: str
    command: str
    settings: Settings
    protect_home: bool = True

    def text(self) -> str:
        """The file."""
        settings = self.settings
        return _TEMPLATE.format(
            name=self.name,
            origin=self.origin,
            source=self.source,
            directory=self.directory,
            command=self.command,
            stall=settings.stall_timeout,
            watchdog=settings.stall_timeout + _WATCHDOG_MARGIN_SECONDS,
            drain=settings.drain_timeout,
            stop=settings.drain_timeout + _STOP_MARGIN_SECONDS,
            home="yes" if self.protect_home else "read-only",
        )


def template_unit() -> Unit:
    """For any app: `streamcluster@orders.service` runs what is in /opt/streamcluster/orders."""
    return Unit(
        name="%i",
        origin="streamcluster@.service: `systemctl enable --now streamcluster@orders` runs the app orders.",
        source="# STREAMCLUSTER_APP=module:app, and what else the app reads.\n"
        "EnvironmentFile=/etc/streamcluster/%i.env\n"
        "Environment=STREAMCLUSTER_CONFIG=/etc/streamcluster/%i.toml",
        directory="/opt/streamcluster/%i",
        command="/opt/streamcluster/%i/venv/bin/streamcluster start",
        settings=Settings(id="any"),
    )


def app_unit(settings: Settings, command: list[str], directory: str) -> Unit:
    """For one app.

    Args:
        settings: the app's, as the operator set them now.
        command: absolute path of the program, and its arguments.
        directory: where the app's module is; absolute.
    """
    name = settings.app_id
    return Unit(
        name=name,
        origin=f"streamcluster-{name}.service, made by `streamcluster systemd`.",
        source=f"EnvironmentFile=-/etc/streamcluster/{name}.env",
        # Quotes are not taken off here, so spaces stand as they are.
        directory=directory.replace("%", "%%"),
        # In the program's own path there are specifiers, but no variables.
        command=" ".join([quoted(command[0]).replace("$$", "$"), *(quoted(word) for word in command[1:])]),
        settings=settings,
        protect_home=not any(is_in_home(path) for path in (command[0], directory)),
    )


def is_in_home(path: str) -> bool:
    """Whether ProtectHome=yes would hide it."""
    return any(PurePosixPath(path).is_relative_to(home) for home in _HOMES)


def quoted(word: str) -> str:
    """A word of a command as systemd reads it back: specifiers and variables are text, and spaces stay in it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not word or any(c.isspace() or c in "\"'\\;" for c in word) else escaped
