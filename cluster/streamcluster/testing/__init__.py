"""The test driver: runs an app with no broker and no process, on the engine that runs in production.

    from streamcluster.testing import Driver

    def test_clicks_are_counted():
        with Driver(shop.app, partitions=2) as driver:
            driver.send("clicks", key="/home", value=1)
            driver.send("clicks", key="/home", value=2)
            assert driver.table("click_counts") == {"/home": 3}

Records are partitioned by key as Kafka does it; time stands still until `advance`; `crash` and `rebalance` may stand
between any two events.
"""

from .driver import Driver
from .topics import Output

__all__ = ["Driver", "Output"]
