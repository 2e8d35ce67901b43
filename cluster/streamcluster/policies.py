"""What happens to an event that an agent fails on (docs/guide.md). Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import AppError
from .settings import ErrorAction, Settings


@dataclass(frozen=True, slots=True)
class ErrorPolicy:
    """Try a failing event `retries` more times, `backoff` seconds apart and doubling, then do `action`.

    dead_letter: the record goes to the dead-letter topic with the reason, in one transaction, and the stream goes on.
    skip: the record is passed over, with a log line. stop: the app stops with exit 70 and the offset is not passed.
    """

    retries: int = 1
    backoff: float = 0.1
    backoff_max: float = 30.0
    action: ErrorAction = "dead_letter"

    def delay(self, attempt: int) -> float:
        """Seconds to wait before retry number `attempt`, counted from 1; the first one follows at once."""
        if attempt <= 1:
            return 0.0
        return float(min(self.backoff_max, self.backoff * 2 ** (attempt - 2)))


def retry(times: int, backoff: float = 0.1, then: ErrorAction = "dead_letter") -> ErrorPolicy:
    """`on_error=retry(5, backoff=1.0, then="stop")` for an agent."""
    return ErrorPolicy(retries=times, backoff=backoff, action=then)


def policy_of(on_error: ErrorPolicy | str | None, settings: Settings) -> ErrorPolicy:
    """The policy of an agent: what it says itself, else what the settings say."""
    default = ErrorPolicy(retries=settings.error_retries, backoff=settings.error_backoff, action=settings.error_action)
    if on_error is None:
        return default
    if isinstance(on_error, ErrorPolicy):
        return on_error
    if on_error == "dead_letter":
        return replace(default, action="dead_letter")
    if on_error == "skip":
        return replace(default, action="skip")
    if on_error == "stop":
        return replace(default, action="stop")
    raise AppError(
        f"on_error={on_error!r}: use 'dead_letter', 'skip', 'stop' or streamcluster.retry(times, backoff, then)."
    )
