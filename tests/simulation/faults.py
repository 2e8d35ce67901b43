"""What happens to a world, by its seed: crashes, pauses, cuts, second coordinators of a name, operators' commands."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from streamcluster_coordinator.machine import events as ev
from streamcluster_coordinator.records.report import LeaderRequest

from .hosts import Host
from .world import TASKS, World

NAMES = ("a", "b", "c")


def hurt(world: World, seconds: float) -> None:
    """Let faults come one after the other, for so long."""
    end = world.clock.now + seconds
    world.start("a")
    for name in NAMES[1 : world.clock.random.randint(1, len(NAMES))]:
        world.clock.after(world.clock.random.uniform(0, 3), partial(start_if_gone, world, name))

    def next_one() -> None:
        if world.clock.now < end:
            world.clock.random.choices(list(FAULTS), weights=list(FAULTS.values()))[0](world)
            world.clock.after(world.clock.random.expovariate(1 / 1.5), next_one)

    world.clock.after(world.clock.random.uniform(0.2, 3.0), next_one)
    world.clock.run_until(end)


def settle(world: World, seconds: float) -> str | None:
    """No more faults: everything that was hurt is well again. Return why the world does not come to rest, or None."""
    for host in world.alive():
        if host.line.paused:
            host.resume()
        if host.line.cut:
            _heal(host)
        for worker in list(host.workers.values()):
            if worker.paused:
                worker.wake()
    end = world.clock.now + seconds
    reason: str | None = "nothing has happened"
    while world.clock.now < end and reason is not None:
        world.clock.run_until(world.clock.now + 1.0)
        for name in NAMES[:2]:
            start_if_gone(world, name)
        reason = world.unsettled()
    return reason


def start_if_gone(world: World, name: str) -> None:
    """Start a host that does not run."""
    if name not in world.hosts or world.hosts[name].line.dead:
        world.start(name)


def _some(world: World) -> Host | None:
    hosts = world.alive()
    return world.clock.random.choice(hosts) if hosts else None


def crash_host(world: World) -> None:
    """kill -9 of a host; it comes back after a while, or not."""
    if (host := _some(world)) is None:
        return
    world.trace(f"! {host.name} crashes")
    host.crash()
    if world.clock.random.random() < 0.8:
        wait = world.clock.random.choice((0.05, 0.5, 4.0, 9.0))
        world.clock.after(wait, lambda: start_if_gone(world, host.name))


def start_another(world: World) -> None:
    """A host that did not run so far."""
    start_if_gone(world, world.clock.random.choice(NAMES))


def crash_worker(world: World) -> None:
    """kill -9 of a worker."""
    workers = world.all_workers()
    if workers:
        worker = world.clock.random.choice(workers)
        world.trace(f"! {worker.slot_id} dies")
        worker.die(-9)


def reset_worker(world: World) -> None:
    """A commit of unknown outcome: new clients."""
    workers = [worker for worker in world.all_workers() if worker.session]
    if workers:
        worker = world.clock.random.choice(workers)
        world.trace(f"! {worker.slot_id} resets")
        worker.line.through(worker.join, 0.01, 2.0)


def pause_host(world: World) -> None:
    """SIGSTOP of a host, for less or for much more than it takes to be taken for dead."""
    host = _some(world)
    if host is None or host.line.paused:
        return
    seconds = world.clock.random.choice((0.3, 2.0, 4.0, 8.0))
    world.trace(f"! {host.name} is paused for {seconds}")
    host.line.paused = True
    for worker in host.workers.values():
        worker.paused = True
    world.clock.after(seconds, lambda: None if host.line.dead or not host.line.paused else host.resume())


def pause_coordinator(world: World) -> None:
    """SIGSTOP of a coordinator alone: its workers go on."""
    host = _some(world)
    if host is None or host.line.paused:
        return
    seconds = world.clock.random.choice((1.0, 4.0, 8.0))
    world.trace(f"! the coordinator of {host.name} is paused for {seconds}")
    host.line.paused = True
    world.clock.after(seconds, lambda: None if host.line.dead or not host.line.paused else host.resume())


def pause_worker(world: World) -> None:
    """SIGSTOP of one worker."""
    workers = [worker for worker in world.all_workers() if not worker.paused]
    if workers:
        worker = world.clock.random.choice(workers)
        seconds = world.clock.random.choice((0.5, 3.0, 6.0))
        world.trace(f"! {worker.slot_id} is paused for {seconds}")
        worker.paused = True
        world.clock.after(seconds, lambda: worker.wake() if worker.alive and worker.paused else None)


def keep_tasks(world: World) -> None:
    """A worker that gives no task back from now on, whatever it is asked for."""
    workers = world.all_workers()
    if workers:
        worker = world.clock.random.choice(workers)
        world.trace(f"! {worker.slot_id} keeps what it has")
        worker.keeps = True


def stick_worker(world: World) -> None:
    """A worker that waits for a disk: it does nothing, and no kill ends it."""
    workers = [worker for worker in world.all_workers() if not worker.paused]
    if workers:
        worker = world.clock.random.choice(workers)
        seconds = world.clock.random.choice((4.0, 12.0, 30.0))
        world.trace(f"! {worker.slot_id} is stuck for {seconds}")
        worker.paused = worker.stuck = True
        world.clock.after(seconds, lambda: worker.wake() if worker.alive and worker.stuck else None)


def cut_host(world: World) -> None:
    """A host cannot reach the brokers for a while."""
    host = _some(world)
    if host is None or host.line.cut:
        return
    seconds = world.clock.random.choice((0.5, 2.5, 5.0, 10.0))
    world.trace(f"! {host.name} is cut off for {seconds}")
    host.line.cut = True
    world.clock.after(seconds, partial(_heal, host))


def bounce_brokers(world: World) -> None:
    """Nobody can reach the brokers for a while (H11)."""
    seconds = world.clock.random.choice((1.0, 4.0, 8.0))
    world.trace(f"! no broker answers for {seconds}")
    for host in world.alive():
        if not host.line.cut:
            host.line.cut = True
            world.clock.after(seconds, partial(_heal, host))


def _heal(host: Host) -> None:
    if not host.line.dead and host.line.cut:
        host.line.heal()
        host.line.through(host.read_logs)


def start_namesake(world: World) -> None:
    """A second coordinator of a host's name; the first must end."""
    host = _some(world)
    if host is None or world.hosts[host.name] is not host:
        return
    world.trace(f"! a second {host.name} starts")
    world.hosts[f"{host.name}, superseded {world.instances}"] = host
    world.start(host.name)


def stop_host(world: World) -> None:
    """SIGTERM: hand over and end; it is started again later."""
    if (host := _some(world)) is None:
        return
    world.trace(f"! {host.name} is stopped")
    host.tell(ev.StopRequested())
    world.clock.after(world.clock.random.uniform(2, 20), lambda: start_if_gone(world, host.name))


def signal_host(world: World) -> None:
    """HUP, TTIN or TTOU."""
    if (host := _some(world)) is None:
        return
    event = world.clock.random.choice((ev.RestartRequested(), ev.MoreWorkers(), ev.FewerWorkers()))
    if isinstance(event, ev.MoreWorkers) and len(host.node.local.state.places) >= 3:
        return
    world.trace(f"! {host.name}: {event}")
    host.tell(event)


def command(world: World) -> None:
    """An operator's request."""
    if (host := _some(world)) is None:
        return
    pick = world.clock.random
    target, task = pick.choice(NAMES), str(pick.choice(TASKS))
    number = f"{world.clock.now:.6f}"
    request = pick.choice(
        (
            LeaderRequest(id=number, kind="drain", target=target),
            LeaderRequest(id=number, kind="undrain", target=target),
            LeaderRequest(id=number, kind="undrain", target=target),
            LeaderRequest(id=number, kind="move", target=f"{target}/0", task=task),
            LeaderRequest(id=number, kind="unpin", task=task),
            LeaderRequest(id=number, kind="restart"),
        )
    )
    world.trace(f"! {host.name} asks for {request}")
    world.ask(host, request)


FAULTS: dict[Callable[[World], None], int] = {
    crash_host: 4,
    start_another: 3,
    crash_worker: 4,
    reset_worker: 3,
    pause_host: 4,
    pause_coordinator: 2,
    pause_worker: 2,
    keep_tasks: 2,
    stick_worker: 1,
    cut_host: 4,
    bounce_brokers: 1,
    start_namesake: 1,
    stop_host: 2,
    signal_host: 2,
    command: 2,
}
