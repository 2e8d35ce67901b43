"""What a run of the ledger is, and what it has shown. No rule."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.ledger.recovery import Recovery


@dataclass(frozen=True, slots=True)
class Options:
    """One run. brokers: nodes of a cluster of its own; bootstrap: a running one in place of it, which is left alone.

    kafka: the release that the cluster runs; by default one that keeps what it acknowledges (`release_for`).
    is_scaled: one host, then all, then one, in place of faults.
    guarantee: with at_least_once the checks have to turn red, which proves that they can on real processes.
    """

    seed: int
    seconds: float = 300.0
    hosts: int = 1
    brokers: int = 3
    workers: int = 2
    rate: int = 2_000
    accounts: int = 1_000
    profiles: int = 10_000
    mean_gap: float = 6.0
    catch_up_seconds: float = 90.0
    kinds: tuple[str, ...] = ()
    bootstrap: str | None = None
    kafka: str | None = None
    guarantee: str = "exactly_once"
    is_scaled: bool = False

    @property
    def has_own_brokers(self) -> bool:
        """Whether faults may hit the brokers."""
        return self.bootstrap is None


@dataclass(slots=True)
class Result:
    """What a run has shown. movements: acknowledged ones; refused: given up on; evidence: how much the checks saw."""

    options: Options
    violations: dict[str, list[str]] = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    movements: int = 0
    refused: int = 0
    evidence: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_green(self) -> bool:
        """Whether every check was made and found nothing."""
        return bool(self.violations) and not any(self.violations.values())
