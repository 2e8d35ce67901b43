"""`python -m streamcluster`: the same as the `streamcluster` command. A launcher; it decides nothing."""

from __future__ import annotations

from streamcluster_coordinator.cli import main

if __name__ == "__main__":
    main()
