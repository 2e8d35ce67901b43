"""An app whose events say and store what terminals, encoders and pages choke on. Names as in apps.py."""

from __future__ import annotations

import streamcluster
from streamcluster import App
from tests.process.apps import PREFIX, topic

FORGED = "09:00:00 shown is running fine"
ACTING = f"\x1b]0;PWNED\x07\x9b2J\n{FORGED}"


class Unencodable(Exception):
    """An error whose text UTF-8 does not have, as out of `json.loads`."""

    def __repr__(self) -> str:
        return "Unencodable('\ud800')"


shown = App(f"{PREFIX}shown", broker="kafka://", store="rocksdb://", error_retries=3, error_backoff=0.5)
shown_in = shown.topic(topic("in"), key_type=str, value_type=str, value_serializer="raw")
shown_out = shown.topic(topic("out"), key_type=str, value_type=str, value_serializer="raw")
shown_seen = shown.Table("seen", default=int)


@shown.agent(shown_in)
async def show(stream: streamcluster.Stream[str]) -> None:
    """Count and send on; `act` and `surrogate` raise, and `large` counts further than 64 bits."""
    async for key, value in stream.items():
        shown_seen[key] += 10**30 if value == "large" else 1
        if value == "act":
            raise ValueError(ACTING)
        if value == "surrogate":
            raise Unencodable
        await shown_out.send(key=key, value=value)
