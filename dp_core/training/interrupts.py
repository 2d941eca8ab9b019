"""Ctrl-C, SIGTERM and errors: when the state of a run is whole, and how to get back to where it was.

A run may end at any line. What it saves then has to be a state from which a resumed run equals one that nothing ended:
not the middle of an update, and not half of what follows an epoch.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from dp_core.training.random_state import RandomState

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, a signal raises KeyboardInterrupt, but never inside `deferred`: there it waits for the end.

    A second signal does not wait.

    Torch raises from a signal, too, at any line: when a process of a data loader was killed, as all of them are by a
    signal to the whole process group. It stays silent in `deferred` and once the run is `ending`; the next batch tells.
    """

    def __init__(self) -> None:
        self.state_is_whole = True
        """False once an error tore an `update` apart, or a second signal a deferred stretch."""
        self._pending = False
        self._deferring = False
        self._is_ending = False
        self._former: dict[signal.Signals, object] = {}
        self._random_state = RandomState()
        self.mark()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Keep signals waiting in a stretch that they must not tear apart."""
        self._stand_before_torch()
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending:
            raise KeyboardInterrupt

    def ending(self) -> None:
        """Say that no more batches are wanted: whatever happens to the processes that load them, the state is saved."""
        self._stand_before_torch()
        self._is_ending = True

    @contextmanager
    def update(self) -> Iterator[None]:
        """Enclose what leaves the state in pieces if it raises: there is no way back. Its end is marked."""
        self.state_is_whole = False
        yield
        self.state_is_whole = True
        self.mark()

    def mark(self, undo: Callable[[], object] | None = None) -> None:
        """Note a moment to which `rewind` returns.

        Args:
            undo: puts back what changes after this moment. By default, noise that was drawn is all there is to undo.
        """
        self._noise = self._random_state.noise_state()
        self._undo = undo

    def rewind(self) -> None:
        """Return to the last moment that was marked, so that a resumed run draws the same noise from there."""
        if self._undo is not None:
            self._undo()
        self._random_state.load_noise_state(self._noise)

    def _stand_before_torch(self) -> None:
        """Take the place of the handler that torch sets when the first data loader starts processes."""
        if self._former and signal.SIGCHLD not in self._former and callable(former := signal.getsignal(signal.SIGCHLD)):
            self._former[signal.SIGCHLD] = former
            signal.signal(signal.SIGCHLD, self._handle_child)

    def _handle_child(self, number: int, frame: FrameType | None) -> None:
        if not self._deferring and not self._is_ending:
            self._former[signal.SIGCHLD](number, frame)  # type: ignore[operator]

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.ending()
        if self._deferring and not self._pending:
            self._pending = True
            return
        self.state_is_whole &= not self._deferring
        raise KeyboardInterrupt
