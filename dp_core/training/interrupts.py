"""Ctrl-C and SIGTERM at moments when the state of a run is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, a signal raises KeyboardInterrupt, but never inside `deferred`: there it waits for the end.

    A second signal does not wait.
    """

    def __init__(self) -> None:
        self.state_is_whole = True
        """False once a second signal tore a deferred stretch apart."""
        self._pending = False
        self._deferring = False
        self._former: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A stretch that must not be torn apart."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._deferring and not self._pending:
            self._pending = True
            return
        self.state_is_whole &= not self._deferring
        raise KeyboardInterrupt
