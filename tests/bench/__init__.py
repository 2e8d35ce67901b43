"""The bench: `python -m tests.bench` measures streamcluster on a real broker beside bare confluent-kafka loops.

It prints each figure with what issues 3 and 4 ask of it and writes all of them, with the facts of the machine, as JSON.

    python -m tests.bench                      everything; about 25 minutes on 2 cores
    python -m tests.bench --quick              does it all work? about 2 minutes, the numbers mean nothing
    python -m tests.bench --only hosts         the cases with several hosts; about 5 minutes. --keys: fewer keys
    python -m tests.bench --only count --guarantee exactly_once --records 10000000
    python -m tests.bench --broker HOST:PORT   on a running broker instead of one of its own

Cases: count, mapping, grouped, latency, restore, kill, start; with several hosts: join, host_lost, leader_lost, leave,
idle, host_lost_cold. How each number is measured:

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

Several hosts: two on this machine, `a` and `b`, with 2 workers each and one broker, 5 million keys in a table of 4
tasks, 20,000 changes/s at default settings, one standby of each task. One cluster serves all cases, in the order above;
a host that is gone is started again with the state that it had, and the next case begins when both have their share
and their standbys. A thread looks at the committed offsets and at the source's ends every 20 ms or so, and reads the
control log as it grows; a moment is when the bench had the answer, so each figure is a little too large. Figures come
with the load average at that time; that of a machine with nothing else to do is 1 to 3.

join: no commit, moving, restored records
    Host b starts with nothing on its disk while host a works. The longest time between two commits of any partition,
    from the start of the command until b has its share and all standbys are there. Moving: from the record of the
    control log that asks a task back to the one that gives it to b. Restored: what b read from the changelog after the
    move, the worst task; more than twice standby_lag_max would be a restore. `back` is the same, the worst of all times
    that a host came back in the other cases.
host_lost, leader_lost: first commit, caught up, restored records
    kill -9 to all processes of a host at once, one that does not lead or the one that does. First commit: each of its
    tasks has committed something that was not there 0.5 s after the kill (nobody is missed before that). Caught up:
    their lag together is no more than its maximum in the 3 s before the kill. Restored: as for join. New leader:
    another leader's record in the control log.
leader_killed: no commit of others
    In leader_lost, the longest time between two commits of any partition of the host that stays, until it has caught up
    with all tasks; what is usual is beside it.
leave: committed elsewhere, new leader, exit code
    TERM to a host that does not lead, later to the one that does. Committed elsewhere: each of its tasks has committed
    something that was not there when the control log gave it to the other host; the worse of the two times.
idle: coordinator, status records
    Both hosts are settled and nothing is sent: CPU (user and system) of the coordinator processes without their
    workers, the larger one, over 30 s; and what the end of the status topic moves by, per host.
host_lost_cold
    As host_lost with standby_replicas=0 and without a copy on the disk of the host that stays. Records/s as for
    restore: the restored records of the tasks that were lost, by the time from the first of them seen restoring to the
    last one seen running; less than there, because records go on coming and being processed meanwhile. That the other
    tasks restored nothing is checked.
"""
