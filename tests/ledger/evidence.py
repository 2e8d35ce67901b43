"""How much a run has shown to the checks. It judges nothing."""

from __future__ import annotations

from tests.ledger.checks_running import calm_stretches
from tests.ledger.folds import movements_of
from tests.ledger.values import Observed
from tests.ledger.values_timed import TIMED_OUTPUTS


def evidence_of(observed: Observed) -> dict[str, int]:
    """How much each kind of check had to look at: little of it would say little."""
    return {
        "commits": sum(len(commits) for commits in observed.commits.values()),
        "claims": len(observed.claims),
        "restores": len(observed.restores),
        "restores of damaged stores": sum(one.is_excused for one in observed.restores),
        "dead letters": len(observed.letters),
        "hanging events": sum(
            movement.do.startswith("hang ") for log in observed.inputs.values() for movement in movements_of(log)
        ),
        "records restored": sum(one.restored for one in observed.restores),
        "stores on disk": len(observed.stores),
        "records seen meanwhile": sum(len(sight.offsets) for sight in observed.sights.values()),
        "processes measured": len(observed.usage),
        "calm stretches": sum(1 for _ in calm_stretches(observed.usage, observed.faults)),
        "cut at movement": sum(observed.cuts[0].posted.values()),
        **{f"{name} of event time": sum(map(len, observed.outputs[name].values())) for name in TIMED_OUTPUTS},
    }
