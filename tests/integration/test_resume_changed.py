"""A run that is resumed with other batches, epochs or data: every window once, the learning rate where it was."""

from __future__ import annotations

import json
import logging
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from dp_core.checkpoint import read_payload, write_payload
from dp_core.cli.run import main
from dp_core.training.data_loading import BatchOrder
from dp_core.training.loop import Progress
from dp_replay.dataset import ReplayDataset
from dp_training.learning_rate import advance

ALL_WINDOWS = ("dataset.val_ratio=0", "callbacks.topk=null")


@pytest.fixture
def interrupted(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``interrupted(method, count, *overrides)`` ran until Ctrl-C at that call of a method of `Progress`."""
    tiny_config.write_text(tiny_config.read_text().replace("num_warmup_steps: 3", "num_warmup_steps: 0"))

    def interrupt(method: str, count: int, *overrides: str) -> Path:
        folder, original, calls = tmp_path / "run", getattr(Progress, method), []

        def call_and_interrupt(*arguments: Any) -> None:
            original(*arguments)
            calls.append(method)
            if len(calls) == count:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Progress, method, call_and_interrupt)
            assert main([str(tiny_config), f"output_dir={folder}", *ALL_WINDOWS, *overrides]) == 130
        return folder

    return interrupt


@pytest.fixture
def interrupted_once(interrupted: Callable[..., Path]) -> Path:
    return interrupted("finish_epoch", 1, "training.num_epochs=2")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Windows that are read while it is used."""
    indices, getitems = [], ReplayDataset.__getitems__

    def note_and_read(self: ReplayDataset, batch: list[int]) -> dict[str, Any]:
        indices.extend(batch)
        return getitems(self, batch)

    monkeypatch.setattr(ReplayDataset, "__getitems__", note_and_read)
    return indices


def states_of(folder: Path) -> dict[str, Any]:
    return read_payload(folder / "checkpoints" / "latest.ckpt")["state_dicts"]


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs.json.txt").read_text().splitlines()]


def rates(folder: Path) -> list[float]:
    """Learning rate after each epoch."""
    return list({record["epoch"]: record["lr"] for record in records(folder)}.values())


def order_of(epoch: int, size: int, seed: int = 42) -> list[int]:
    order = BatchOrder(size, size, seed=seed, shuffle=True)
    order.set_position(epoch)
    return next(iter(order))


@pytest.mark.parametrize("batch_size", [16, 3])
def test_other_batches_have_the_windows_that_are_left(
    batch_size: int, interrupted: Callable[..., Path], read: list[int]
) -> None:
    folder = interrupted("advance", 4, "training.num_epochs=1")
    order = order_of(0, states_of(folder)["progress"]["dataset_size"])
    read.clear()

    assert main(["--resume", str(folder), f"dataloader.batch_size={batch_size}"]) == 0
    assert read[batch_size:] == order[4 * 8 :]  # the first batch is for sampling
    assert len(records(folder)) == 4 + -(-(len(order) - 4 * 8) // batch_size)
    assert rates(folder) == pytest.approx([0], abs=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        "dataloader.batch_size=16",
        "dataloader.drop_last=true",
        "training.gradient_accumulate_every=2",
        "training.max_train_steps=3",
    ],
)
def test_the_learning_rate_keeps_its_share_of_the_run(
    change: str, interrupted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4")
    caplog.set_level(logging.INFO)

    assert main(["--resume", str(folder), change]) == 0
    assert rates(folder) == pytest.approx([1e-3 * (1 + math.cos(math.pi * share / 4)) / 2 for share in range(1, 5)])
    total = states_of(folder)["progress"]["updates_in_run"]
    assert caplog.messages.count(f"the learning rate continues at 50 % of the run: update {total // 2} of {total}") == 1


@pytest.mark.parametrize(("num_epochs", "percent"), [(5, "40"), (3, "66.7")])
def test_the_share_is_that_of_a_run_with_more_or_fewer_epochs(
    num_epochs: int, percent: str, interrupted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4")
    caplog.set_level(logging.INFO)

    assert main(["--resume", str(folder), f"training.num_epochs={num_epochs}"]) == 0
    expected = [1e-3 * (1 + math.cos(math.pi * share / num_epochs)) / 2 for share in range(3, num_epochs + 1)]
    assert rates(folder)[2:] == pytest.approx(expected)
    assert any(message.startswith(f"the learning rate continues at {percent} % of") for message in caplog.messages)


def test_nothing_is_trained_where_more_epochs_are_done_than_wanted(interrupted: Callable[..., Path]) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4")
    before = records(folder)

    assert main(["--resume", str(folder), "training.num_epochs=1"]) == 0
    assert records(folder) == before


def test_a_change_in_the_middle_of_an_epoch_ends_the_schedule_with_the_run(
    interrupted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """And the change is one: resumed once more, the run continues as it was."""
    folder = interrupted("advance", 5, "training.num_epochs=2")
    caplog.set_level(logging.INFO)

    assert main(["--resume", str(folder), "dataloader.batch_size=3", "training.gradient_accumulate_every=4"]) == 0
    progress = states_of(folder)["progress"]
    assert progress["updates"] == progress["updates_in_run"]
    assert rates(folder)[-1] == pytest.approx(0, abs=1e-12)
    caplog.clear()
    assert main(["--resume", str(folder)]) == 0
    assert not [message for message in caplog.messages if "learning rate" in message]


def test_changed_options_of_the_optimizer_count_beside_changed_batches(interrupted: Callable[..., Path]) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4")
    changes = ["dataloader.batch_size=16", "optimizer.lr=0.01", "optimizer.weight_decay=0.5"]

    assert main(["--resume", str(folder), *changes]) == 0
    assert rates(folder)[2] == pytest.approx(0.01 * (1 + math.cos(math.pi * 3 / 4)) / 2)
    states = states_of(folder)
    assert states["lr_schedule"]["base_lrs"] == [0.01]
    assert states["optimizer"]["param_groups"][0]["initial_lr"] == 0.01
    assert states["optimizer"]["param_groups"][0]["weight_decay"] == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ema=null", "the checkpoint has a state for 'ema_model', which this config leaves out; keep what the run had"),
        (
            "policy.denoiser.kernel_size=5",
            "the state of 'model' does not fit this config: 'model.mid_modules.0.blocks.0.block.0.weight' has shape "
            "(16, 16, 3), here (16, 16, 5) (and 16 more); leave out what changes it",
        ),
        (
            "~policy.encoder.name",
            "FOLDER/config.resolved.yaml has 1 problem\n  policy.encoder.name: is missing; it chooses the encoder: ",
        ),
        (
            "~policy.horizon",
            "FOLDER/config.resolved.yaml has 1 problem\n"
            "  policy.horizon: required, but missing (from the command line)",
        ),
        (
            "~policy.denoiser.kernel_siz",
            "the command line has 1 problem\n"
            "  policy.denoiser.kernel_siz: is not set, so that nothing can be dropped; did you mean 'kernel_size'?",
        ),
    ],
)
def test_a_change_with_which_no_run_can_continue_is_told_in_one_line(
    change: str, message: str, interrupted_once: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main(["--resume", str(interrupted_once), change]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"dp-run: error: {message.replace('FOLDER', str(interrupted_once))}")
    assert shown.count("\n") == 1 + message.count("\n")


def test_a_run_continues_with_the_default_of_an_option_that_is_dropped(interrupted_once: Path) -> None:
    assert main(["--resume", str(interrupted_once), "~optimizer.lr", "training.num_epochs=2"]) == 0
    assert states_of(interrupted_once)["optimizer"]["param_groups"][0]["initial_lr"] == 1e-4


def grow(path: Path) -> None:
    """One more episode."""
    root = zarr.open_group(path, mode="r+")
    for name, size in (("state", 3), ("action", 2)):
        values = np.concatenate([root["data"][name][:], np.zeros((20, size), np.float32)])
        del root["data"][name]
        root["data"][name] = values
    root["meta"]["episode_ends"].append(np.array([120]))


def test_data_that_grew_between_epochs_are_all_used(interrupted: Callable[..., Path], tiny_config: Path) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4")
    grow(tiny_config.with_name("tiny.zarr"))

    assert main(["--resume", str(folder)]) == 0
    assert rates(folder) == pytest.approx([1e-3 * (1 + math.cos(math.pi * share / 4)) / 2 for share in range(1, 5)])


def test_data_that_grew_in_the_middle_of_an_epoch_start_it_again(
    interrupted: Callable[..., Path], tiny_config: Path, read: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    folder = interrupted("advance", 5, "training.num_epochs=1")
    former = states_of(folder)["progress"]["dataset_size"]
    grow(tiny_config.with_name("tiny.zarr"))
    read.clear()

    assert main(["--resume", str(folder)]) == 0
    size = states_of(folder)["progress"]["dataset_size"]
    assert size > former
    assert read[8:] == order_of(0, size)
    assert (
        f"epoch 0 starts again: it was in the order of {former} windows and seed 42, and that of {size} and seed 42 is "
        "another"
    ) in caplog.messages


def test_another_seed_in_the_middle_of_an_epoch_starts_it_again(
    interrupted: Callable[..., Path], read: list[int]
) -> None:
    folder = interrupted("advance", 5, "training.num_epochs=1")
    read.clear()

    assert main(["--resume", str(folder), "training.seed=7"]) == 0
    size = states_of(folder)["progress"]["dataset_size"]
    assert read[8:] == order_of(0, size, seed=7)


@pytest.mark.parametrize(
    ("option", "after"),
    [
        ("lr_schedule={name: linear, num_warmup_steps: 0}", 0.25e-3),
        ("lr_schedule.num_warmup_steps=4", 0.75e-3),
        ("optimizer.lr=0.002", 2e-3 * (1 + math.cos(math.pi * 3 / 4)) / 2),
    ],
)
def test_other_learning_rates_count(option: str, after: float, interrupted: Callable[..., Path]) -> None:
    folder = interrupted("finish_epoch", 2, "training.num_epochs=4", "training.gradient_accumulate_every=99")

    assert main(["--resume", str(folder), option]) == 0
    assert rates(folder)[2] == pytest.approx(after, abs=1e-12)


def test_an_average_that_is_switched_on_begins_with_the_weights_that_are_there(
    interrupted: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """And with their normalizer, which a resumed run does not fit again."""
    folder = interrupted("advance", 2, "training.num_epochs=1", "ema=null")
    caplog.set_level(logging.INFO)

    assert main(["--resume", str(folder), "ema={max_value: 0}"]) == 0  # which is a copy
    assert "the checkpoint has no average of the weights: one begins with what they are now" in caplog.messages
    states = states_of(folder)
    assert states["ema"]["optimization_step"] == states["progress"]["updates"] - 2
    assert all(torch.equal(states["ema_model"][name], value) for name, value in states["model"].items())


def as_it_was_written_earlier(folder: Path) -> None:
    """Take out of a checkpoint what counts in windows."""
    path = folder / "checkpoints" / "latest.ckpt"
    payload = dict(read_payload(path))
    progress = payload["state_dicts"]["progress"]
    progress["loss_sum"] /= 8  # every batch had as many
    for name in ("windows_in_epoch", "dataset_size", "seed", "updates", "updates_in_run"):
        del progress[name]
    write_payload(path, payload)


def test_a_checkpoint_that_counts_batches_resumes_to_the_same_end(
    interrupted: Callable[..., Path], tiny_config: Path, tmp_path: Path
) -> None:
    folder = interrupted("advance", 13, "training.num_epochs=2")
    straight = tmp_path / "straight"
    as_it_was_written_earlier(folder)

    assert main(["--resume", str(folder)]) == 0
    assert main([str(tiny_config), f"output_dir={straight}", *ALL_WINDOWS, "training.num_epochs=2"]) == 0
    assert records(folder) == records(straight)
    expected, found = states_of(straight), states_of(folder)
    assert found["progress"] == expected["progress"]
    assert all(torch.equal(found["ema_model"][name], value) for name, value in expected["ema_model"].items())


def test_a_checkpoint_that_counts_batches_may_go_on_with_others(
    interrupted: Callable[..., Path], read: list[int]
) -> None:
    folder = interrupted("advance", 4, "training.num_epochs=1")
    order = order_of(0, states_of(folder)["progress"]["dataset_size"])
    as_it_was_written_earlier(folder)
    read.clear()

    assert main(["--resume", str(folder), "dataloader.batch_size=16"]) == 0
    assert read[16:] == order[4 * 8 :]


def one_cycle(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)


def chained(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=4)
    return torch.optim.lr_scheduler.ChainedScheduler([warmup, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)])


@pytest.mark.parametrize("make", [one_cycle, chained])
def test_any_schedule_can_be_brought_to_a_position(
    make: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler],
) -> None:
    """Without a warning of torch's, which would be an error here."""
    options = []
    for ahead in (0, 6):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)
        schedule = make(optimizer)
        advance(schedule, ahead)
        for _ in range(9 - ahead):
            optimizer.step()
            schedule.step()
        options.append({name: value for name, value in optimizer.param_groups[0].items() if name != "params"})

    assert options[0] == options[1]
