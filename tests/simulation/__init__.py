"""Simulation: the machines of several hosts, Kafka and the workers in one thread, with virtual time and seeded faults.

Two phases. Faults on: in every step at most one session per task can commit, no commit is lost or done twice, terms and
epochs grow. Faults off: it must come to rest, with every task at work, balanced, and its standby in place.

    python -m tests.simulation --seeds 100000      many seeds, on all cores
    python -m tests.simulation --seed 17 --trace   one seed, with everything that happens
"""
