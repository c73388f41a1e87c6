"""The processes of `run()`: workers, the one that reloads, and how all of them end.

Children are spawned, never forked: each is a fresh interpreter that imports the program anew
(a script as `__mp_main__`, so without its `if __name__ == "__main__"` part), which is what a
reload needs, and no lock or thread is copied half-way. Three promises:

- SIGINT or SIGTERM asks every child to end, and waits; a second one kills them and ourselves.
- A child outlives its parent by no more than its own clean end, also when the parent is killed.
- A worker that cannot start ends all of them; one that dies later is replaced, again and again if
  need be, while the others go on.

Nothing here knows a server or an app: it is given what to call in the child.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from ._log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from types import FrameType

    Ready = Callable[[], None]
    Target = Callable[..., int]  # called in the child with its arguments and a Ready; returns the exit status

CLEANUP = 5.0  # seconds for a lifespan's cleanup, after the time that handlers have; then SIGKILL
RETRY = 1.0  # seconds before a worker is started anew after another one in its place could not start
POLL = 0.5  # seconds between two looks at the files, where watchfiles is not installed

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_spawn = multiprocessing.get_context("spawn")


class StopSignal:
    """SIGINT and SIGTERM as an event, and as a descriptor `reader` to wait for, inside a `with` block."""

    def __init__(self) -> None:
        self.signum = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        self.reader, self._writer = os.pipe()
        for signum in SIGNALS:
            self._previous[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)
        os.close(self.reader)
        os.close(self._writer)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.signum:
            kill_all(signum)
        self.signum = signum
        os.write(self._writer, b"!")

    def is_set(self) -> bool:
        """Tell whether a signal came (the name that watchfiles asks for)."""
        return self.signum != 0


def kill_all(signum: int) -> None:
    """End this process by `signum` at once, and every child of it by SIGKILL before."""
    for child in multiprocessing.active_children():
        child.kill()
    signal.signal(signum, signal.SIG_DFL)
    signal.raise_signal(signum)


def in_main_thread() -> bool:
    """Tell whether signal handlers can be set from here."""
    return threading.current_thread() is threading.main_thread()


def second_signal_kills() -> None:
    """Chain the present handlers of SIGINT and SIGTERM: the first signal is theirs, a second one kills.

    To be called once the server has installed its own. Only in the main process: a child gets
    SIGINT from the terminal and SIGTERM from its parent, which are one wish, not two.
    """
    if multiprocessing.parent_process() is not None or not in_main_thread():
        return
    seen = False
    for signum in SIGNALS:
        previous = signal.getsignal(signum)

        def on_signal(number: int, frame: FrameType | None, previous: Any = previous) -> None:
            nonlocal seen
            if seen:
                kill_all(number)
            seen = True
            if callable(previous):
                previous(number, frame)

        signal.signal(signum, on_signal)


def end_with_parent(grace: float | None) -> None:
    """End this process, if it was spawned, when its parent is gone; see `end_after`."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_after(parent.join, grace)


def end_after(wait: Callable[[], object], grace: float | None) -> None:
    """End this process when `wait`, in a thread, returns: by SIGTERM, `grace` and a bit later by SIGKILL.

    SIGTERM is said again every second: on uvloop one that comes while the loop is about to start
    (between two `run_until_complete`, as granian has them) is lost.
    """

    def watch() -> None:
        wait()
        deadline = None if grace is None else time.monotonic() + grace + CLEANUP
        while deadline is None or time.monotonic() < deadline:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="asgineer-parent", daemon=True).start()


class Child:
    """One spawned process that calls `target(*args, ready)`, and whether it said that it is ready."""

    def __init__(self, target: Target, args: Sequence[Any], grace: float | None) -> None:
        self._reader, writer = _spawn.Pipe(duplex=False)
        self.is_ready = False
        self.process: SpawnProcess = _spawn.Process(target=_call, args=(target, args, grace, writer))
        # Ctrl+C reaches every process of the terminal. An ignored signal stays ignored in the new
        # interpreter, until its server installs a handler: so no child ends in a KeyboardInterrupt.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, previous)
            writer.close()

    def news(self) -> Iterable[Any]:
        """Return what to wait for: the child's end, and until it is ready that it becomes so."""
        return (self.process.sentinel,) if self.is_ready else (self.process.sentinel, self._reader)

    def has_become_ready(self) -> bool:
        """Tell whether the child ever said that it is ready."""
        if not self.is_ready and self._reader.poll():
            with contextlib.suppress(EOFError):  # it is gone without a word
                self.is_ready = self._reader.recv()
        return self.is_ready

    def close(self) -> None:
        """Free what belongs to a child that has ended."""
        self._reader.close()
        self.process.close()


def _call(target: Target, args: Sequence[Any], grace: float | None, writer: Connection) -> None:
    """Run in the child: call the target, and end with the status it returns."""
    end_with_parent(grace)

    def ready() -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which another one will tell us
            writer.send(True)

    raise SystemExit(target(*args, ready))


def end_all(children: Iterable[Child], grace: float | None) -> None:
    """Ask the children to end, wait up to `grace` and a bit for their clean end, then kill."""
    children = list(children)
    for child in children:
        child.process.terminate()
    deadline = None if grace is None else time.monotonic() + grace + CLEANUP
    for child in children:
        child.process.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if child.process.is_alive():
            logger.warning("Process %d did not end in time and is killed", child.process.pid)
            child.process.kill()
            child.process.join()
        child.close()


def supervise(
    target: Target,
    args: Sequence[Any],
    workers: int,
    grace: float | None,
    *,
    ready: Ready,
    stopping: Callable[[], None],
) -> int:
    """Keep `workers` children running until a signal comes; return the exit status.

    Args:
        target: what each child calls, with `args` and a function that says "I am ready".
        grace: seconds that handlers have to end; None waits without limit.
        ready: called here, once, when all of them are ready.
        stopping: called here when no more connections are wanted, before the children are asked to end.
    """
    children: list[Child] = []
    announced = False
    with StopSignal() as stop:
        try:
            while len(children) < workers:
                children.append(Child(target, args, grace))
            while not stop.is_set():
                wait([stop.reader, *(news for child in children for news in child.news())])
                are_ready = [
                    child.has_become_ready() for child in children
                ]  # each is read: else wait() spins
                if not announced and all(are_ready):
                    announced = True
                    ready()
                for index, child in enumerate(children):
                    if child.process.exitcode is None or stop.is_set():
                        continue
                    if not child.has_become_ready():
                        if not announced:
                            return max(1, child.process.exitcode)
                        wait([stop.reader], RETRY)
                    children[index] = _replaced(child, target, args, grace)
        finally:
            stopping()
            end_all(children, grace)
    return 0


def _replaced(child: Child, target: Target, args: Sequence[Any], grace: float | None) -> Child:
    """Start another child instead of one that ended; status 0 is an end of its own (a limit of requests)."""
    process = child.process
    if process.exitcode:
        logger.error("Worker %d ended (status %d), starting another", process.pid, process.exitcode)
    child.close()
    return Child(target, args, grace)


def serve_and_reload(
    target: Target,
    args: Sequence[Any],
    directories: Sequence[str],
    grace: float | None,
    *,
    stopping: Callable[[], None],
) -> int:
    """Keep one child running, and start it anew whenever a Python file changes, until a signal comes.

    A child that ends by itself (a program with a mistake) is started again by the next change.
    """
    with StopSignal() as stop:
        changes = _changes(directories, stop)
        next(changes)
        child = Child(target, args, grace)
        try:
            for paths in changes:
                logger.info("Reloading, because of %s", ", ".join(sorted(map(os.path.relpath, paths))))
                end_all([child], grace)
                child = Child(target, args, grace)
        finally:
            stopping()
            end_all([child], grace)
    return 0


def _changes(directories: Sequence[str], stop: StopSignal) -> Iterator[set[str]]:
    """Yield an empty set when the watch has begun, then the Python files that changed, until `stop`."""
    try:
        import watchfiles
    except ImportError:
        yield from _polled_changes(directories, stop)
        return
    yield set()  # it begins with the next step, long before a new interpreter reads its first file
    for changes in watchfiles.watch(
        *directories,
        watch_filter=watchfiles.PythonFilter(),
        stop_event=stop,
        ignore_permission_denied=True,
    ):
        yield {path for _, path in changes}


def _polled_changes(directories: Sequence[str], stop: StopSignal) -> Iterator[set[str]]:
    before = _modification_times(directories)
    yield set()
    while not wait([stop.reader], POLL):
        now = _modification_times(directories)
        changed = {path for path, _ in before.items() ^ now.items()}
        before = now
        if changed:
            yield changed


def _modification_times(directories: Sequence[str]) -> dict[str, int]:
    """Return path → modification time in ns of the Python files below `directories`.

    Hidden folders, caches and virtual environments are left out.
    """
    times: dict[str, int] = {}
    for directory in directories:
        for folder, folders, files in os.walk(directory):
            folders[:] = [name for name in folders if not _is_passed_over(folder, name)]
            for name in files:
                if name.endswith(".py"):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(OSError):  # deleted between the two calls
                        times[path] = os.stat(path).st_mtime_ns
    return times


def _is_passed_over(folder: str, name: str) -> bool:
    return (
        name.startswith(".")
        or name in ("__pycache__", "node_modules")
        or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
    )
