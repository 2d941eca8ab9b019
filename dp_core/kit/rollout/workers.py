"""`WorkerGroup`: an `EpisodeGroup` whose episodes are dealt out to processes. No torch."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from numpy.typing import NDArray

from dp_core.border import Failure
from dp_core.errors import DpError
from dp_core.kit.rollout.environment import Start
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions, Report

_PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""
_KILLED = -9
"""Exit code of a process that SIGKILL has ended."""


class WorkerGroup:
    """Offer what `EpisodeGroup` offers, with the episodes dealt out to processes.

    Processes are spawned, not forked: the parent may hold a GPU and threads.

    Args:
        title: of the task, for messages.
    """

    def __init__(self, options: EpisodeOptions, n_workers: int, title: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._worker_of: dict[int, int] = {}
        self._title = title
        for index in range(n_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, options), name=f"{title} {index}", daemon=True)
            process.start()
            # Only the worker holds its end now, so that it sees when we are gone, and we see when it is.
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def start(self, starts: Mapping[int, Start]) -> dict[int, Report]:
        """Start some episodes, each in the process that has the fewest; see `EpisodeGroup.start`."""
        for number in starts:
            load = Counter(self._worker_of.values())
            self._worker_of[number] = min(range(len(self._connections)), key=load.__getitem__)
        return self._ask("start", starts)

    def execute(self, actions: Mapping[int, NDArray[Any]]) -> dict[int, Report]:
        """Execute a chunk of actions in each of some episodes; see `EpisodeGroup.execute`."""
        reports = self._ask("execute", actions)
        for number, report in reports.items():
            if report.window is None:
                del self._worker_of[number]
        return reports

    def close(self) -> None:
        """End the processes, by force if they do not react."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        self._connections, self._processes = [], []

    def _ask(self, method: str, what: Mapping[int, Any]) -> dict[int, Report]:
        """Let workers call ``method`` for their episodes, all at the same time, and wait for their reports.

        Raises:
            DpError: a worker has ended.
        """
        shares: dict[int, dict[int, Any]] = {}
        for number, value in what.items():
            shares.setdefault(self._worker_of[number], {})[number] = value
        for worker, share in shares.items():
            with self._watching(worker):
                self._connections[worker].send((method, share))
        replies = []
        for worker in shares:
            with self._watching(worker):
                replies.append(self._connections[worker].recv())
        reports: dict[int, Report] = {}
        for reply in replies:
            if isinstance(reply, Failure):
                reply.reraise()
            reports |= reply
        return {number: reports[number] for number in what}

    @contextlib.contextmanager
    def _watching(self, worker: int) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            process = self._processes[worker]
            process.join(_PATIENCE)
            raise DpError(f"the process '{process.name}' of the {self._title} runner {_end(process)}") from error


def _end(process: BaseProcess) -> str:
    """Say how it came to its end, as far as that can be told from outside."""
    if process.exitcode == _KILLED:
        return "was killed, which happens where memory runs out; choose fewer 'num_workers', or fewer 'n_envs'"
    return f"ended unexpectedly, with exit code {process.exitcode}"


def _serve(connection: Connection, options: EpisodeOptions) -> None:
    """Do what is asked until the other end is closed; the life of a worker."""
    group = EpisodeGroup(options)
    try:
        # Ctrl-C reaches the workers too; the parent is the one to report it.
        with contextlib.suppress(EOFError, ConnectionError, KeyboardInterrupt):
            while True:
                method, share = connection.recv()
                try:
                    reply = getattr(group, method)(share)
                except Exception as error:
                    reply = Failure.of(error)
                connection.send(reply)
    finally:
        group.close()
