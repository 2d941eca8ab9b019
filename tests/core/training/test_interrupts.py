"""Real signals to this process: at once outside a deferred stretch, at its end inside."""

# ruff: noqa: PT012 -- where the interruption comes, and what is not reached, is what is tested

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch

from dp_core.training.interrupts import Interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_interrupts_at_once(number: signal.Signals) -> None:
    reached = []

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        send(number)
        reached.append("after")

    assert reached == []
    assert interrupts.state_is_whole


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_end_of_a_deferred_stretch(number: signal.Signals) -> None:
    reached = []

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        with interrupts.deferred():
            send(number)
            reached.append("inside")
        reached.append("after")

    assert reached == ["inside"]
    assert interrupts.state_is_whole


def test_a_second_signal_does_not_wait_and_leaves_a_mark() -> None:
    reached = []

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.deferred():
        send(signal.SIGINT)
        send(signal.SIGTERM)
        reached.append("inside")

    assert reached == []
    assert not interrupts.state_is_whole


def test_an_error_in_a_deferred_stretch_comes_first() -> None:
    with Interrupts() as interrupts, pytest.raises(RuntimeError, match="mine"), interrupts.deferred():
        send(signal.SIGINT)
        raise RuntimeError("mine")


def test_an_error_tears_an_update_apart() -> None:
    interrupts = Interrupts()

    with pytest.raises(RuntimeError, match="mine"), interrupts.update():
        raise RuntimeError("mine")

    assert not interrupts.state_is_whole


def test_after_an_update_the_way_back_leads_to_its_end() -> None:
    undone = []
    interrupts = Interrupts()
    interrupts.mark(lambda: undone.append("all"))
    with interrupts.update():
        torch.rand(1)
    expected = torch.get_rng_state()
    torch.rand(1)

    interrupts.rewind()

    assert torch.equal(torch.get_rng_state(), expected)
    assert undone == []


def test_the_way_back_undoes_what_came_after_the_mark() -> None:
    undone = []
    interrupts = Interrupts()
    interrupts.mark(lambda: undone.append("all"))

    interrupts.rewind()

    assert undone == ["all"]


def test_afterwards_signals_do_what_they_did() -> None:
    heard = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with Interrupts():
            pass
        send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)

    assert heard == [signal.SIGTERM]


def test_in_another_thread_nothing_is_touched() -> None:
    """Python lets only the main thread set handlers; a run in a thread simply goes without."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with Interrupts() as interrupts, interrupts.deferred():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert errors == []


def test_a_dead_process_of_a_data_loader_is_no_error_where_none_may_come() -> None:
    """Torch raises from its handler of SIGCHLD, which it sets when the first loader starts, so after ours."""
    raised = RuntimeError("DataLoader worker is killed by signal: Terminated.")

    def handle(*_: object) -> None:
        raise raised

    former = signal.getsignal(signal.SIGCHLD)
    try:
        with Interrupts() as interrupts:
            signal.signal(signal.SIGCHLD, handle)
            with interrupts.deferred():
                send(signal.SIGCHLD)
            with pytest.raises(RuntimeError) as caught:
                send(signal.SIGCHLD)
            interrupts.ending()
            send(signal.SIGCHLD)
        assert signal.getsignal(signal.SIGCHLD) is handle
    finally:
        signal.signal(signal.SIGCHLD, former)

    assert caught.value is raised
