"""Measures where the time of a run goes: in named sections, while a `Profiler` is active; next to free while none is.

The loop names its parts; policies, runners and callbacks may name theirs::

    with section("encode"):
        features = self.encoder(obs)

or ``@section("encode")`` on a function. What is inside another section is shown below it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import attrs

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_END: Any = object()
_active: Profiler | None = None


def section(name: str) -> Section:
    """Measure what runs in this context, or in the decorated function: a profile shows its time under ``name``.

    Costs less than a microsecond while nothing is profiled.

    Sections of other threads and processes than the run's own are not measured.
    """
    return Section(name)


def steps(batches: Iterable[T]) -> Iterable[T]:
    """Yield ``batches``, one for each step of a loop.

    In a profile, fetching them is the section "data", and some of the steps are traced.
    """
    return batches if _active is None else _active.steps(batches)


def set_device(device: torch.device) -> None:
    """Tell the profile, if one is made, where sections compute: a section is over when a GPU is done with it."""
    if _active is not None:
        _active.device = device


@attrs.define
class SectionTime:
    """The time that one section took."""

    seconds: float = 0.0
    """The time in seconds, including that of sections inside it."""
    count: int = 0


class Profiler:
    """Measures the time of all sections while it is entered, and traces a few steps.

    On a GPU, every section begins and ends with waiting for it, so that a section's time is that of its own kernels;
    a run that is not measured waits for nothing and is a little faster.

    Args:
        trace_path: where the trace goes, in the format of Chrome; https://ui.perfetto.dev shows it.
        skipped_steps: steps before the trace; the first ones are slower than others.
        traced_steps: steps in the trace, all of one epoch; fewer if that ends.
        max_trace_bytes: of a larger trace, the end is cut off.
    """

    def __init__(
        self, trace_path: Path, *, skipped_steps: int = 3, traced_steps: int = 3, max_trace_bytes: int = 64 * 2**20
    ) -> None:
        self.times: dict[tuple[str, ...], SectionTime] = {}
        """By name, those of the enclosing sections first; in the order in which they were first entered."""
        self.seconds = 0.0
        """From entering the profiler to leaving it."""
        self.n_steps = 0
        """Steps that have begun."""
        self.trace_path = trace_path
        self.is_traced = False
        """Whether the trace has been written."""
        self.device: torch.device | None = None
        self._skipped_steps = skipped_steps
        self._traced_steps = traced_steps
        self._max_trace_bytes = max_trace_bytes
        self._owner = (0, 0)
        self._start = 0.0
        self._open: list[_Open] = []
        self._trace: torch.profiler.profile | None = None
        self._trace_ends = 0

    def __enter__(self) -> Self:
        global _active
        _active = self
        self._owner = _process_and_thread()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        self._stop_trace()
        self.seconds += self._now() - self._start
        _active = None

    def own_seconds(self, *path: str) -> float:
        """Return the seconds of a section without those inside it; without a path, the seconds outside all sections."""
        inside = sum(time.seconds for key, time in self.times.items() if key[:-1] == path)
        return (self.times[path].seconds if path else self.seconds) - inside

    def enter(self, name: str) -> None:
        """Begin a section; see `section`."""
        if self._owner != _process_and_thread():
            return
        path = (*self._open[-1].path, name) if self._open else (name,)
        self.times.setdefault(path, SectionTime())
        shown: Any = contextlib.nullcontext()
        if self._trace is not None:
            from torch.profiler import record_function

            shown = record_function(name)
        shown.__enter__()
        self._open.append(_Open(path, self._now(), shown))

    def leave(self, name: str) -> None:
        """End the innermost section of that name."""
        if self._owner != _process_and_thread():
            return
        now = self._now()
        while self._open:  # a signal may have torn one open before it was entered
            ended = self._open.pop()
            ended.shown.__exit__(None, None, None)
            self.times[ended.path].seconds += now - ended.start
            self.times[ended.path].count += 1
            if ended.path[-1] == name:
                return

    def steps(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield ``batches``, as the function `steps` does, and trace some of the steps."""
        iterator = iter(batches)
        try:
            while True:
                with section("data"):
                    batch = next(iterator, _END)
                if batch is _END:
                    return
                if self.n_steps >= self._skipped_steps and not self.is_traced and self._trace is None:
                    self._start_trace()
                self.n_steps += 1
                yield cast(T, batch)
                if self._trace is not None and self.n_steps >= self._trace_ends:
                    self._stop_trace()
        finally:
            self._stop_trace()

    def _now(self) -> float:
        # Not in a trace, which is to show what overlaps.
        if self.device is not None and self.device.type == "cuda" and self._trace is None:
            import torch

            if not torch.cuda.is_current_stream_capturing():
                torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _start_trace(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        is_gpu = self.device is not None and self.device.type == "cuda"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_gpu else [])]
        if not is_gpu:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it tells everybody that there is no GPU
        with section("profiling"):
            with profile(activities=activities):
                pass  # the first takes long to set up, which would look like a slow step
            trace = profile(activities=activities)
            trace.start()
        self._trace, self._trace_ends = trace, self.n_steps + self._traced_steps

    def _stop_trace(self) -> None:
        trace, self._trace = self._trace, None
        if trace is None:
            return
        with section("profiling"):
            trace.stop()
            self.trace_path.parent.mkdir(parents=True, exist_ok=True)
            trace.export_chrome_trace(str(self.trace_path))
            _cut_trace(self.trace_path, self._max_trace_bytes)
        self.is_traced = True


class Section(ContextDecorator):
    """The context that `section` returns."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        if _active is not None:
            _active.enter(self._name)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if _active is not None:
            _active.leave(self._name)


@attrs.frozen
class _Open:
    """A section that has begun."""

    path: tuple[str, ...]
    start: float
    shown: Any
    """Its entry in the trace."""


def _process_and_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def _cut_trace(path: Path, max_bytes: int) -> None:
    """Leave out the last events of a trace that is too large to be looked at."""
    size = path.stat().st_size
    if size <= max_bytes:
        return
    trace = json.loads(path.read_text())
    names = [event for event in trace["traceEvents"] if event["ph"] == "M"]
    events = sorted((event for event in trace["traceEvents"] if event["ph"] != "M"), key=lambda event: event["ts"])
    trace["traceEvents"] = names + events[: int(len(events) * 0.9 * max_bytes / size)]
    path.write_text(json.dumps(trace, separators=(",", ":")))
