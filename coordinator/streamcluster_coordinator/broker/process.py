"""One node of the development broker as a process: format its storage, start, signal, reap, and quote its log.

Knows Java's command line and the node's own directory; not which other nodes there are, nor when one is ready.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamcluster.errors import ConfigurationError

from .config import DATA, JAVA_FLAGS, SERVER_LOG, logging_of
from .installation import Installation

_CONSOLE_LOG = "console.log"
_PROPERTIES = "server.properties"
_LAUNCH = Path(__file__).with_name("launch.py")
_LAST_LINES = 12
FORMAT_TIMEOUT_SECONDS = 60
KILL_TIMEOUT_SECONDS = 10


class NodeProcess(msgspec.Struct):
    """A node's directory and the Java process in it, if one runs."""

    id: int
    directory: Path
    installation: Installation
    # What a node's command begins with: an absolute path and arguments, or nothing.
    within: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = msgspec.field(default=None)
    _paused: bool = False

    def add_java_flags(self, *flags: str) -> None:
        """Run with these too, from its next start on."""
        self.installation = replace(self.installation, java_flags=(*self.installation.java_flags, *flags))

    def write_files(self, properties: str) -> None:
        """Write the node's configuration into its directory."""
        self.directory.mkdir(exist_ok=True)
        (self.directory / _PROPERTIES).write_text(properties)
        logging = logging_of(self.installation.kafka)
        (self.directory / logging.file).write_text(logging.text)

    def format_storage(self, cluster_id: str, extra: Sequence[str] = ()) -> None:
        """Prepare the node's empty storage for the cluster. extra: more arguments for Kafka's tool."""
        command = self._java("-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c")
        answer = subprocess.run(
            [*command, _PROPERTIES, *extra],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_SECONDS,
            check=False,
        )
        if answer.returncode != 0:
            raise ConfigurationError(
                f"The storage {self.directory / DATA} could not be prepared:\n{answer.stderr or answer.stdout}"
            )

    def start(self, inherit: int) -> None:
        """Start Java. The kernel ends it with the thread that calls this, so call it from one that stays.

        Args:
            inherit: a file descriptor that the node keeps open for as long as it lives.
        """
        # A session of its own keeps the terminal's Ctrl-C from reaching it before we decide what it means. Not
        # preexec_fn: that runs Python between fork and exec, unsafe in a process with threads.
        launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid())]
        command = [*launch, *self.within, *self._java("kafka.Kafka", _PROPERTIES)]
        with (self.directory / _CONSOLE_LOG).open("wb") as console:
            self._process = subprocess.Popen(
                command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                pass_fds=(inherit,),
                start_new_session=True,
            )
        self._paused = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended (minus the signal); None while it runs or before the first."""
        return self._process.poll() if self._process is not None else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs; a stop or continue is remembered."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self._paused = number == signal.SIGSTOP
        if number == signal.SIGSTOP:
            # Its threads go on for a moment after the signal. Looked at only: the end is for Popen to take.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def ask_to_end(self) -> None:
        """Ask for a clean end, without waiting for it."""
        if self._paused:
            self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)

    def wait_or_kill(self, seconds: float) -> bool:
        """Wait for the end, kill after so long; whether it ended by itself."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """End it now and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(KILL_TIMEOUT_SECONDS)

    def obituary(self) -> str:
        """How it ended and what it said last."""
        code = self.exit_code
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return f"node {self.id} of the broker {how}. It said last:\n{self.last_lines()}"

    def last_lines(self) -> str:
        """What it said last, for messages."""
        said: list[str] = []
        for name in (_CONSOLE_LOG, SERVER_LOG):
            path = self.directory / name
            text = path.read_text(errors="replace") if path.exists() else ""
            # Stack frames would push out the lines that say what happened.
            lines = [line for line in text.splitlines() if not line.startswith("\tat ")][-_LAST_LINES:]
            said += [f"--- {path}", *lines] if lines else []
        return "\n".join(said)

    def _java(self, *arguments: str) -> list[str]:
        return [
            str(self.installation.java),
            *JAVA_FLAGS,
            *self.installation.java_flags,
            logging_of(self.installation.kafka).java_flag,
            *(argument for argument in arguments if argument.startswith("-X")),
            "-cp",
            self.installation.class_path,
            *(argument for argument in arguments if not argument.startswith("-X")),
        ]
