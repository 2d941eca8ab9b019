"""Early stop: what counts as improvement, which epochs count, and what a resumed run remembers."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dp_callbacks.config import EarlyStopConfig
from dp_callbacks.early_stop import EarlyStop

NAN = math.nan


class Run:
    """Announces epochs as the loop does, and takes requests."""

    def __init__(self, callback: EarlyStop) -> None:
        self.callback = callback
        self.reasons: list[str] = []

    def request_stop(self, reason: str) -> None:
        self.reasons.append(reason)

    def epoch(self, epoch: int, **metrics: Any) -> None:
        self.callback.dp_after_epoch(workspace=self, metrics={"epoch": epoch, **metrics})

    def stopped_after(self, values: list[float | None]) -> int | None:
        """The epoch that asks to stop; None: none does. A value that is None was not measured."""
        for epoch, value in enumerate(values):
            self.epoch(epoch, **({} if value is None else {"val_loss": value}))
            if self.reasons:
                return epoch
        return None


def early_stop(**options: Any) -> EarlyStop:
    return EarlyStop(EarlyStopConfig(**{"patience": 2} | options))


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({}, [3, 2, 1, 0], None),
        ({}, [1, 2, 3, 4], 2),
        ({}, [1, 1, 1, 1], 2),
        ({}, [3, 4, 2, 4, 1], None),
        ({}, [1, None, 2, None, None, 3], 5),
        ({}, [1, NAN, NAN], 2),
        ({}, [NAN, 2, NAN, 1, NAN], None),
        ({}, [NAN, math.inf, 1], 1),
        ({"mode": "max"}, [1, math.inf, 2, NAN], None),
        ({"mode": "max"}, [1, 2, 3, 2, 1], 4),
        ({"min_delta": 0.5}, [3, 2.6, 2.5, 2], 2),
        ({"min_delta": 0.5}, [3, 2.4, 1.8], None),
        ({"patience": 1}, [1, 2], 1),
    ],
)
def test_a_run_stops_when_measurements_in_a_row_are_no_better(
    options: dict[str, Any], values: list[float | None], expected: int | None
) -> None:
    assert Run(early_stop(**options)).stopped_after(values) == expected


@pytest.mark.parametrize(
    ("options", "values", "reason"),
    [
        ({}, [0.25, 1, 1], "early_stop: val_loss was no better than 0.25, of epoch 0, in 2 measurements"),
        ({"patience": 1}, [NAN], "early_stop: val_loss was not finite in 1 measurement"),
    ],
)
def test_the_reason_says_what_was_waited_for(options: dict[str, Any], values: list[float | None], reason: str) -> None:
    run = Run(early_stop(**options))

    run.stopped_after(values)

    assert run.reasons == [reason]


@pytest.mark.parametrize("metric", ["test/mean_score", "test_mean_score"])
def test_slashes_in_metrics_may_be_underscores(metric: str) -> None:
    run = Run(early_stop(metric=metric, mode="max"))

    for epoch in range(3):
        run.epoch(epoch, **{"test/mean_score": 0.5})

    assert len(run.reasons) == 1


def test_an_epoch_that_is_announced_twice_counts_once() -> None:
    run = Run(early_stop())
    run.epoch(0, val_loss=1.0)

    run.epoch(1, val_loss=2.0)
    run.epoch(1, val_loss=2.0, **{"test/mean_score": 0.5})
    assert run.reasons == []
    run.epoch(2, val_loss=2.0)

    assert len(run.reasons) == 1


def test_an_epoch_counts_when_its_second_announcement_has_the_metric() -> None:
    run = Run(early_stop(patience=1))
    run.epoch(0, val_loss=1.0)

    run.epoch(1)
    run.epoch(1, val_loss=2.0)

    assert len(run.reasons) == 1


def test_a_resumed_run_waits_no_longer_than_one_that_was_not() -> None:
    run = Run(early_stop())
    run.stopped_after([1, 2])
    resumed = early_stop()
    resumed.load_state_dict(run.callback.state_dict())

    run = Run(resumed)
    run.epoch(2, val_loss=1.5)

    assert len(run.reasons) == 1


def test_a_run_that_was_stopped_has_all_its_patience_again() -> None:
    run = Run(early_stop())
    run.stopped_after([1, 2, 2])
    resumed = early_stop()
    resumed.load_state_dict(run.callback.state_dict())

    run = Run(resumed)
    run.epoch(3, val_loss=1.5)
    assert run.reasons == []
    run.epoch(4, val_loss=1.5)

    assert run.reasons == ["early_stop: val_loss was no better than 1, of epoch 0, in 2 measurements"]


def test_the_summary_names_the_best_value() -> None:
    run = Run(early_stop())
    assert run.callback.summary() == []

    run.stopped_after([3, 1, 2])

    assert run.callback.summary() == ["best val_loss: 1.0000, in epoch 1"]


def test_a_metric_that_was_never_measured_is_mentioned_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(early_stop(metric="score"))

    run.epoch(0, val_loss=1.0)
    run.callback.dp_after_run()

    assert caplog.messages == [
        "early_stop: 'score' was never measured, so nothing could stop the run; measured were 'epoch', 'val_loss'"
    ]
