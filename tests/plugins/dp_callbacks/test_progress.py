"""What a person sees of a run."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace

import pytest
import torch

import dp_callbacks.progress
from dp_callbacks.config import ProgressConfig
from dp_callbacks.plugin import dp_components
from dp_callbacks.progress import ProgressDisplay


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


class Run:
    """10 epochs of 100 steps of 64 samples; a step takes half a second."""

    num_epochs, steps_per_epoch, batch_size = 10, 100, 64

    def __init__(self, monkeypatch: pytest.MonkeyPatch, is_terminal: bool, **options: float) -> None:
        self.seconds = 1000.0
        self.err = Stream(is_terminal)
        monkeypatch.setattr("sys.stderr", self.err)
        monkeypatch.setattr(dp_callbacks.progress.time, "monotonic", lambda: self.seconds)
        self.progress = SimpleNamespace(epoch=3, step_in_epoch=0, global_step=300)
        self.display = ProgressDisplay(ProgressConfig(**options))
        self.display.dp_before_run(workspace=self)
        self.display.dp_before_epoch(workspace=self)

    def train(self, count: int) -> None:
        for _ in range(count):
            self.seconds += 0.5
            self.progress.step_in_epoch += 1
            self.progress.global_step += 1
            self.display.dp_after_train_step(workspace=self, metrics={"train_loss": torch.tensor(0.0123456)})


def test_a_line_now_and_then_where_there_is_no_terminal(monkeypatch) -> None:
    run = Run(monkeypatch, is_terminal=False, line_seconds=20)

    run.train(100)

    assert run.err.getvalue().splitlines() == [
        "epoch 3/10, step 40/100: loss 0.01235, 128 samples/s, 5 min 30 s left",
        "epoch 3/10, step 80/100: loss 0.01235, 128 samples/s, 5 min 10 s left",
    ]


def test_time_left_counts_what_rollouts_take(monkeypatch) -> None:
    run = Run(monkeypatch, is_terminal=False, line_seconds=100)
    run.train(100)
    run.seconds += 3500
    run.progress.epoch, run.progress.step_in_epoch = 4, 0
    run.display.dp_before_epoch(workspace=run)

    run.train(1)

    assert run.err.getvalue() == "epoch 4/10, step 1/100: loss 0.01235, 128 samples/s, 5 h 50 min left\n"


def test_time_left_is_that_of_the_batches_to_come_however_many_there_were(monkeypatch) -> None:
    """A run that continues with larger batches has made more steps than it would have with these."""
    run = Run(monkeypatch, is_terminal=False, line_seconds=20)
    run.progress.global_step = 2400
    run.display.dp_before_run(workspace=run)
    run.display.dp_before_epoch(workspace=run)

    run.train(40)

    assert run.err.getvalue() == "epoch 3/10, step 40/100: loss 0.01235, 128 samples/s, 5 min 30 s left\n"


def test_bar_on_a_terminal_disappears_with_its_epoch(monkeypatch) -> None:
    run = Run(monkeypatch, is_terminal=True)

    run.train(50)
    shown = run.err.getvalue().split("\r")[-1]
    run.display.dp_after_epoch()

    assert shown.startswith("epoch 3/10  50%|")
    assert shown.rstrip().endswith("50/100, loss 0.01235, 128 samples/s, 5 min 25 s left")
    assert run.err.getvalue().split("\r")[-2].strip() == ""


def test_loss_is_read_only_when_it_is_shown(monkeypatch) -> None:
    class Loss:
        reads = 0

        def __float__(self) -> float:
            Loss.reads += 1
            return 0.0

    run = Run(monkeypatch, is_terminal=False, line_seconds=1)
    run.progress.global_step += 1
    run.display.dp_after_train_step(workspace=run, metrics={"train_loss": Loss()})
    reads_before = Loss.reads
    run.seconds += 1
    run.display.dp_after_train_step(workspace=run, metrics={"train_loss": Loss()})

    assert (reads_before, Loss.reads) == (0, 1)


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        (
            {
                "test/mean_score": 0.8765,
                "train/mean_score": 0.95,
                "test/sim_max_reward_1": 1.0,
                "test/success_rate": 0.8,
                "test/success_rate_low": 0.67,
                "test/success_rate_high": 0.89,
                "seconds_per_episode": 1.234,
            },
            "epoch 3: test/mean_score 0.876, train/mean_score 0.950, success 80% (95 % interval 67% to 89%), "
            "1.23 s per episode",
        ),
        ({"test/sim_video_1": "media/1.mp4"}, "epoch 3: rollout done"),
    ],
)
def test_scores_are_shown_after_a_rollout(monkeypatch, metrics, line) -> None:
    run = Run(monkeypatch, is_terminal=False)

    run.display.dp_after_rollout(workspace=run, metrics=metrics)

    assert run.err.getvalue() == f"{line}\n"


def test_display_with_a_bar_can_be_pickled(monkeypatch) -> None:
    run = Run(monkeypatch, is_terminal=True)

    pickle.loads(pickle.dumps(run.display)).dp_after_epoch()


def test_every_component_can_be_imported() -> None:
    assert all(callable(component.load()) for component in dp_components())
