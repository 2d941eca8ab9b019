"""Sections: what they measure, what they cost, and the trace of a few steps."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from dp_core.profiling import Profiler, section, set_device, steps


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "run" / "trace.json"


def names_in(trace: Path) -> list[str]:
    """Sections in the order in which they began."""
    events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("cat") == "user_annotation"]
    return [event["name"] for event in sorted(events, key=lambda event: event["ts"])]


def train(n_steps: int) -> None:
    for _ in steps(range(n_steps)):
        with section("loss"):
            torch.ones(2).sum()


def test_without_a_profile_a_section_is_four_calls_that_look_at_no_clock() -> None:
    called: list[str] = []

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            called.append(frame.f_code.co_name if event == "call" else function.__name__)

    sys.setprofile(note)
    with section("loss"):
        pass
    sys.setprofile(None)

    assert called == ["section", "__init__", "__enter__", "__exit__", "setprofile"]
    assert list(steps(range(3))) == [0, 1, 2]


def test_sections_are_shown_by_what_they_are_inside_of_and_add_up_to_the_whole(trace: Path) -> None:
    slept: dict[str, list[float]] = {"encode": [], "loss": [], "elsewhere": []}

    def sleep(where: str) -> None:
        start = time.perf_counter()
        time.sleep(0.005)
        slept[where].append(time.perf_counter() - start)

    @section("encode")
    def encode() -> None:
        sleep("encode")

    with Profiler(trace) as profile:
        for _ in range(2):
            with section("loss"):
                encode()
                sleep("loss")
        encode()
        sleep("elsewhere")

    counts = {path: time.count for path, time in profile.times.items()}
    assert counts == {("loss",): 2, ("loss", "encode"): 2, ("encode",): 1}
    assert profile.times["loss", "encode"].seconds >= sum(slept["encode"][:2])
    assert profile.own_seconds("loss") >= sum(slept["loss"])
    assert profile.own_seconds() >= sum(slept["elsewhere"])
    own = sum(profile.own_seconds(*path) for path in profile.times)
    assert own + profile.own_seconds() == pytest.approx(profile.seconds, abs=1e-9)


def test_an_error_ends_its_sections(trace: Path) -> None:
    with Profiler(trace) as profile:
        with pytest.raises(KeyError), section("loss"), section("encode"):
            raise KeyError
        with section("log"):
            pass

    assert {path: time.count for path, time in profile.times.items()} == {
        ("loss",): 1,
        ("loss", "encode"): 1,
        ("log",): 1,
    }


def test_a_section_that_a_signal_left_open_ends_with_the_one_around_it(trace: Path) -> None:
    with Profiler(trace) as profile:
        with section("loss"):
            profile.enter("encode")  # and Ctrl-C before the context is entered
        with section("log"):
            pass

    assert list(profile.times) == [("loss",), ("loss", "encode"), ("log",)]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_other_threads_and_processes_are_left_alone(trace: Path) -> None:
    with Profiler(trace) as profile, section("rollouts"):
        thread = threading.Thread(target=train, args=(1,))
        thread.start()
        thread.join()
        if (child := os.fork()) == 0:
            train(1)
            os._exit(len(profile.times))
        _, status = os.waitpid(child, 0)

    assert list(profile.times) == [("rollouts",)]
    assert os.waitstatus_to_exitcode(status) == 1


def test_a_few_steps_after_the_first_are_traced(trace: Path) -> None:
    with Profiler(trace, skipped_steps=2, traced_steps=2) as profile:
        train(6)

    assert profile.is_traced
    assert profile.n_steps == 6
    assert names_in(trace) == ["loss", "data", "loss"]
    assert profile.times["data",].count == 7  # the last found that there are no more
    assert profile.times["profiling",].count == 2


def test_a_trace_ends_with_the_epoch_and_holds_nothing_of_what_follows(trace: Path) -> None:
    with Profiler(trace, skipped_steps=2, traced_steps=5) as profile:
        for _ in range(3):
            train(2)
            with section("rollouts"):
                pass

    assert profile.n_steps == 6
    assert names_in(trace) == ["loss", "data", "loss", "data"]


def test_a_run_that_is_too_short_has_no_trace(trace: Path) -> None:
    with Profiler(trace) as profile:
        train(3)

    assert not profile.is_traced
    assert not trace.exists()


def test_an_interrupted_step_counts_and_is_in_the_trace(trace: Path) -> None:
    def train_until(last: int) -> None:
        for step in steps(range(5)):
            with section("loss"):
                if step == last:
                    raise KeyboardInterrupt

    profile = Profiler(trace, skipped_steps=1)
    with pytest.raises(KeyboardInterrupt), profile:
        train_until(2)

    assert profile.n_steps == 3
    assert names_in(trace) == ["loss", "data", "loss"]
    assert profile.times["loss",].count == 3


def test_the_end_of_a_trace_that_is_too_large_is_cut_off(trace: Path) -> None:
    with Profiler(trace, skipped_steps=0, traced_steps=100, max_trace_bytes=20_000):
        train(100)

    assert 10_000 < trace.stat().st_size <= 20_000
    found = names_in(trace)
    assert found[:3] == ["loss", "data", "loss"]
    assert len(found) < 199


def test_a_second_profile_starts_from_nothing(trace: Path) -> None:
    with Profiler(trace):
        train(1)
    with Profiler(trace) as second:
        pass

    assert second.times == {}
    train(1)
    assert second.times == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_section_is_over_when_the_gpu_is_done_with_it(trace: Path) -> None:
    def multiply() -> Iterator[torch.Tensor]:
        matrix = torch.ones(4096, 4096, device="cuda")
        for _ in range(100):
            yield matrix @ matrix

    list(multiply())
    torch.cuda.synchronize()
    with Profiler(trace) as profile:
        set_device(torch.device("cuda"))
        with section("loss"):
            list(multiply())
        with section("log"):
            pass

    assert profile.times["log",].seconds < profile.times["loss",].seconds / 20
