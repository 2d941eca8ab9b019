"""`WorkerGroup`: an `EpisodeGroup` whose episodes are dealt out to processes. No torch."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from numpy.typing import NDArray

from dp_core.errors import DpError
from dp_core.kit.rollout.environment import Start
from dp_core.kit.rollout.episode import EpisodeGroup, EpisodeOptions, Outcome, Report

_PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""
_KILLED = -9
"""Exit code of a process that SIGKILL has ended."""


class WorkerGroup:
    """Offers what `EpisodeGroup` offers. Episode i lives in worker i modulo their number.

    Processes are spawned, not forked: the parent may hold a GPU and threads.

    Args:
        title: of the task, for messages.
    """

    def __init__(self, options: EpisodeOptions, n_workers: int, title: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[BaseProcess] = []
        self._n_episodes = 0
        self._title = title
        for index in range(n_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, options), name=f"{title} {index}", daemon=True)
            process.start()
            # Only the worker holds its end now, so that it sees when we are gone, and we see when it is.
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def start(self, starts: Sequence[Start]) -> list[Report]:
        """See `EpisodeGroup.start`."""
        self._n_episodes = len(starts)
        n_workers = len(self._connections)
        replies = self._ask("start", [starts[worker::n_workers] for worker in range(n_workers)])
        return self._in_order(replies)

    def execute(self, actions: Mapping[int, NDArray[Any]]) -> dict[int, Report]:
        """See `EpisodeGroup.execute`."""
        n_workers = len(self._connections)
        shares: list[dict[int, NDArray[Any]]] = [{} for _ in range(n_workers)]
        for index, chunk in actions.items():
            shares[index % n_workers][index // n_workers] = chunk
        replies = self._ask("execute", shares)
        return {index: replies[index % n_workers][index // n_workers] for index in actions}

    def outcomes(self) -> list[Outcome]:
        """See `EpisodeGroup.outcomes`."""
        return self._in_order(self._ask("outcomes", None))

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

    def _ask(self, method: str, arguments: list[Any] | None) -> list[Any]:
        """Let every worker call ``method``, all at the same time, and wait for what they return.

        Raises:
            DpError: a worker has ended.
        """
        for worker, connection in enumerate(self._connections):
            with self._watching(worker):
                connection.send((method, () if arguments is None else (arguments[worker],)))
        replies = []
        for worker, connection in enumerate(self._connections):
            with self._watching(worker):
                replies.append(connection.recv())
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    @contextlib.contextmanager
    def _watching(self, worker: int) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            process = self._processes[worker]
            process.join(_PATIENCE)
            raise DpError(f"the process '{process.name}' of the {self._title} runner {_end(process)}") from error

    def _in_order(self, replies: list[list[Any]]) -> list[Any]:
        n_workers = len(replies)
        return [replies[index % n_workers][index // n_workers] for index in range(self._n_episodes)]


def _end(process: BaseProcess) -> str:
    """How it came to its end, as far as that can be told from outside."""
    if process.exitcode == _KILLED:
        return "was killed, which happens where memory runs out; choose fewer 'num_workers', or fewer 'n_envs'"
    return f"ended unexpectedly, with exit code {process.exitcode}"


def _serve(connection: Connection, options: EpisodeOptions) -> None:
    """The life of a worker: do what it is asked until the other end is closed."""
    group = EpisodeGroup(options)
    # Ctrl-C reaches the workers too; the parent is the one to report it.
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            method, arguments = connection.recv()
            try:
                reply = getattr(group, method)(*arguments)
            except Exception as error:
                reply = error
            connection.send(reply)
    group.close()
