"""The bench: `python -m tests.bench` measures streamcluster on a real broker beside bare confluent-kafka loops.

It prints each figure with what issue 3 asks of it and writes all of them, with the facts of the machine, as JSON.

    python -m tests.bench                      everything; about 20 minutes on 2 cores
    python -m tests.bench --quick              does it all work? about 1 minute, the numbers mean nothing
    python -m tests.bench --only count --guarantee exactly_once --records 10000000
    python -m tests.bench --broker HOST:PORT   on a running broker instead of one of its own

Cases: count, mapping, grouped, latency, restore, kill, start. How each number is measured:

CPU us/event, events/s (count, mapping, grouped)
    Orders of 130 bytes of JSON, 50,000 accounts, 4 partitions, loaded before anything is measured, so the work is
    always behind and runs as fast as it can: 2 workers, commit every second. The bench looks at the committed offsets
    of the group and at the CPU time (user and system) of every process of the work, ten times a second: the
    coordinator, the fork server and the workers with all their threads, librdkafka's and RocksDB's too; not the
    broker's. Measured is the steady part: from 2 s after the first commit to the moment when the first partition is
    about to run dry (steady.py). In `grouped` an event counts by the mean of both topics that it passes.
bare ...
    The same work in the same invocation, by loops written by hand (bare.py): 2 processes with 2 partitions each, no
    framework, no error policies, no moving of work. "times bare" divides ours by theirs: that is the figure to
    compare between machines, and on a machine that does other things as well.
unique MB/worker
    The peak of the unique memory (USS) of the larger worker during that run, looked at once a second.
exactly once slower, %
    Events/s at least once divided by events/s exactly once, less one.
latency: p50, p99
    A process sends 10,000 orders/s with the monotonic time in each; an observer reads the app's output with
    read_committed and compares. Default settings, no commit_interval. The first 20 s do not count. All results must
    arrive, and no result twice. `latency direct` is the same without an app: the observer reads the source.
restore: records/s
    5 million rows (60 bytes each in the changelog) are put into a table by the app itself, then the app is stopped,
    its local state deleted, and it is started again. Restored records of all tasks, as `status` gives them, divided
    by the time from the first task seen restoring to the last one seen running (looked at 20 times a second).
kill: first commit, back to speed, restored records
    1 million rows, 20,000 changes/s at default settings, then SIGKILL to a worker. First commit: the first committed
    offset on one of its partitions that is newer than what had landed 20 ms after the kill. Back to speed: every one of
    its partitions has committed anew, and their lag together is no more than its maximum in the 3 s before the kill.
    Restored records: what the successor read from changelogs. The worst of three kills counts.
start: first commit, idle memory
    Topics and state are there and 10,000 records wait: from the start of the command to the first committed
    offset; the median of three. Idle: unique memory of the larger worker, 3 s after a start with nothing to read.
"""
