"""A whole run through the command line: what it writes, how it continues after every kind of interruption."""

from __future__ import annotations

import inspect
import json
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import zarr

from dp_core import load_policy
from dp_core.checkpoint import read_payload
from dp_core.cli.run import main
from dp_core.errors import UnsoundStateError
from dp_core.interfaces import BasePolicy, BaseRunner
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.training.loop import evaluate
from dp_replay.sampler import get_val_mask
from dp_training.workspace import TrainWorkspace


def interrupt_at(places: str, signal_name: str, replace: Callable[..., None] = setattr) -> None:
    """Signal this process at each of ``places``, which are "<function of the loop>:<its call>,..."."""
    import signal

    import dp_core.training.loop as loop

    def interrupt(name: str, call: int) -> None:
        owner = loop.Progress if hasattr(loop.Progress, name) else loop
        function, calls = getattr(owner, name), []

        def function_and_signal(*arguments: Any) -> Any:
            calls.append(name)
            result = function(*arguments)
            if len(calls) == call:
                signal.raise_signal(getattr(signal, signal_name))
            return result

        replace(owner, name, function_and_signal)

    for place in places.split(","):
        name, call = place.split(":")
        interrupt(name, int(call))


INTERRUPTED = f"""
from __future__ import annotations
import sys
from dp_core.cli.run import main
{inspect.getsource(interrupt_at)}
interrupt_at(sys.argv[1], sys.argv[2])
sys.exit(main(sys.argv[3:]))
"""


class Ended(NamedTuple):
    """A run that a signal ended."""

    status: int
    stdout: str


Interrupt = Callable[..., Ended]
"""``interrupt(places, signal_name, *arguments)`` runs dp-run with signals as of `interrupt_at`."""


def in_a_process(places: str, signal_name: str, *arguments: str) -> Ended:
    """As an `Interrupt`, in a process of its own, which can be killed."""
    command = [sys.executable, "-c", INTERRUPTED, places, signal_name, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return Ended(ended.returncode, ended.stdout)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Interrupt:
    """An `Interrupt` in this process, which need not import everything first."""

    def run_and_interrupt(places: str, signal_name: str, *arguments: str) -> Ended:
        with monkeypatch.context() as patch:
            interrupt_at(places, signal_name, patch.setattr)
            status = main(arguments)
        return Ended(status, capsys.readouterr().out)

    return run_and_interrupt


def run(config: Path, output: Path, *overrides: str) -> Path:
    assert main([str(config), f"output_dir={output}", *overrides]) == 0
    return output


def state_of(folder: Path) -> dict[str, Any]:
    payload = read_payload(folder / "checkpoints" / "latest.ckpt")
    return {"state_dicts": payload["state_dicts"], "callbacks": payload["callbacks"]}


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs.json.txt").read_text().splitlines()]


def assert_equal_trees(expected: Any, found: Any, path: str = "") -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(expected, found), path
    elif isinstance(expected, dict):
        assert expected.keys() == found.keys(), path
        for key in expected:
            assert_equal_trees(expected[key], found[key], f"{path}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(found), path
        for i, (one, other) in enumerate(zip(expected, found, strict=True)):
            assert_equal_trees(one, other, f"{path}[{i}]")
    else:
        assert expected == found, path


@pytest.fixture
def straight(tiny_config: Path, tmp_path: Path) -> Path:
    """A run that nothing interrupts."""
    return run(tiny_config, tmp_path / "straight")


def test_a_run_leaves_config_log_and_checkpoints(straight: Path) -> None:
    names = sorted(path.name for path in straight.iterdir())
    checkpoints = sorted(path.name.partition("=")[0] for path in (straight / "checkpoints").iterdir())

    assert names == ["checkpoints", "config.resolved.yaml", "logs.json.txt"]
    assert checkpoints == ["epoch", "epoch", "latest.ckpt"]
    last = records(straight)[-1]
    assert last["epoch"] == 2
    assert {"train_loss", "val_loss", "lr", "global_step", "train_action_mse_error"} <= last.keys()


def test_of_two_runs_that_start_at_once_in_one_directory_one_trains_and_the_other_is_refused(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one found the directory free, and was making its networks when the first took it."""
    folder, make = tmp_path / "run", TrainWorkspace.__init__

    def make_after_another_run(workspace: TrainWorkspace, *arguments: Any) -> None:
        monkeypatch.setattr(TrainWorkspace, "__init__", make)
        run(tiny_config, folder, "training.num_epochs=1", "training.seed=1")
        make(workspace, *arguments)

    monkeypatch.setattr(TrainWorkspace, "__init__", make_after_another_run)

    assert main([str(tiny_config), f"output_dir={folder}", "training.seed=2"]) == 2
    assert capsys.readouterr().err.endswith(
        f"dp-run: error: {folder} holds a run already; continue it with `dp-run --resume {folder}`, "
        "or choose another output_dir\n"
    )
    assert "seed: 1\n" in (folder / "config.resolved.yaml").read_text()
    assert [record["epoch"] for record in records(folder)] == [0] * 9


def test_a_finished_run_says_what_to_type_next(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tiny_config, tmp_path / "run", "training.num_epochs=1")

    printed = capsys.readouterr().out
    assert f"done: {folder}" in printed
    # There is no runner, so dp-eval is not what comes next.
    assert f"next: in Python: policy = dp_core.load_policy('{folder}/checkpoints/latest.ckpt')" in printed


@pytest.mark.parametrize("place", ["advance:4", "advance:12", "validation_loss:2"])
def test_a_killed_run_resumes_to_the_same_end_bit_for_bit(
    place: str, straight: Path, tiny_config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    killed = in_a_process(place, "SIGKILL", str(tiny_config), f"output_dir={folder}")
    resumed = main(["--resume", str(folder)])

    assert killed.status == -signal.SIGKILL
    assert resumed == 0
    assert_equal_trees(state_of(straight), state_of(folder))
    assert records(straight) == records(folder)


@pytest.mark.parametrize(
    ("place", "name", "steps"),
    [
        ("advance:10", "SIGINT", 10),  # in the middle of an epoch
        ("advance:10", "SIGTERM", 10),
        ("validation_loss:2", "SIGINT", 18),  # while the epoch is evaluated
        ("finish_epoch:2", "SIGINT", 18),  # between epochs
    ],
)
def test_an_interrupted_run_saves_says_how_to_resume_and_goes_on_where_it_was(
    place: str, name: str, steps: int, straight: Path, tiny_config: Path, tmp_path: Path, here: Interrupt
) -> None:
    folder = tmp_path / "interrupted"
    interrupt = in_a_process if name == "SIGTERM" else here
    interrupted = interrupt(place, name, str(tiny_config), f"output_dir={folder}")
    saved = state_of(folder)["state_dicts"]["progress"]
    resumed = main(["--resume", str(folder)])

    assert interrupted.status == 130
    assert f"the state is saved. Continue with: dp-run --resume {folder}" in interrupted.stdout
    assert saved["global_step"] == steps
    assert resumed == 0
    assert_equal_trees(state_of(straight), state_of(folder))
    assert records(straight) == records(folder)


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        # Of the second epoch: the first signal waits for the end of an update, the second does not.
        ("advance:10,advance:10", "the second signal came in the middle of an update"),
        ("advance:10,state_dict:6", "the second signal came while it was written"),
    ],
)
def test_a_second_signal_leaves_the_last_checkpoint_and_says_so(
    places: str, reason: str, tiny_config: Path, tmp_path: Path, here: Interrupt
) -> None:
    folder = tmp_path / "interrupted"

    interrupted = here(places, "SIGINT", str(tiny_config), f"output_dir={folder}")

    assert interrupted.status == 130
    assert interrupted.stdout.splitlines()[-1] == (
        f"interrupted; the state is not saved: {reason}; the last checkpoint is {folder}/checkpoints/latest.ckpt, of "
        f"the end of epoch 0. Continue with: dp-run --resume {folder}"
    )
    assert state_of(folder)["state_dicts"]["progress"]["epoch"] == 1
    assert [path.name for path in (folder / "checkpoints").glob("*.part")] == []


DIVERGING = ("training.num_epochs=3", "optimizer.lr=1.0e+30", "lr_schedule=constant")


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_a_diverged_run_that_is_interrupted_keeps_the_last_sound_checkpoint(
    signal_name: str, tiny_config: Path, tmp_path: Path, here: Interrupt
) -> None:
    folder = run(tiny_config, tmp_path / "run", "training.num_epochs=1")
    before = state_of(folder)

    interrupted = here("advance:5", signal_name, "--resume", str(folder), *DIVERGING)

    assert interrupted.status == 130
    said = re.sub(r"\d+ of \d+ tensors, first '[^']*'", "...", interrupted.stdout.splitlines()[-1])
    assert said == (
        "interrupted; the state is not saved, since it is not finite: model (...), ema_model (...), optimizer (...), "
        f"progress (the mean loss of epoch 1 is nan); the last checkpoint is {folder}/checkpoints/latest.ckpt, of the "
        "end of epoch 0; continue from it with a lower optimizer.lr or training.max_grad_norm=1.0: "
        f"dp-run --resume {folder}"
    )
    assert_equal_trees(before, state_of(folder))


def test_a_last_update_that_destroys_the_weights_is_not_saved_at_the_end_of_the_epoch(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss of every batch is finite: it was computed before the update."""
    folder = run(tiny_config, tmp_path / "run", "training.num_epochs=1", "lr_schedule=constant")
    before = state_of(folder)
    capsys.readouterr()

    unvalidated = ("dataset.val_ratio=0", "callbacks.topk=null")
    one_step = ("training.max_train_steps=1", *unvalidated, "training.sample_every=9")
    status = main(["--resume", str(folder), *DIVERGING, *one_step, "optimizer.lr=1.0e+39"])

    assert status == 2
    said = re.sub(r"\d+ of \d+ tensors, first '[^']*'", "...", capsys.readouterr().err.splitlines()[-1])
    assert said == (
        "dp-run: error: the state is not saved, since it is not finite: model (...), ema_model (...); the last "
        f"checkpoint is {folder}/checkpoints/latest.ckpt, of the end of epoch 0; continue from it with a lower "
        f"optimizer.lr or training.max_grad_norm=1.0: dp-run --resume {folder}"
    )
    assert_equal_trees(before, state_of(folder))


def test_a_finished_run_that_is_resumed_trains_no_further(straight: Path) -> None:
    before = state_of(straight)

    assert main(["--resume", str(straight)]) == 0
    assert_equal_trees(before, state_of(straight))


def test_a_resumed_run_can_be_made_longer(straight: Path) -> None:
    assert main(["--resume", str(straight), "training.num_epochs=4"]) == 0

    assert state_of(straight)["state_dicts"]["progress"]["epoch"] == 4
    assert records(straight)[-1]["epoch"] == 3


def test_options_of_the_optimizer_that_are_changed_on_resuming_count(straight: Path) -> None:
    before = state_of(straight)["state_dicts"]["optimizer"]["param_groups"][0]
    changes = ["training.num_epochs=4", "optimizer.lr=1.0e-4", "optimizer.weight_decay=0.5"]

    assert main(["--resume", str(straight), *changes]) == 0
    states = state_of(straight)["state_dicts"]
    after = states["optimizer"]["param_groups"][0]
    assert (before["initial_lr"], before["weight_decay"]) == (1e-3, 1e-6)
    assert (after["initial_lr"], after["weight_decay"]) == (1e-4, 0.5)
    assert states["lr_schedule"]["base_lrs"] == [1e-4]


def test_a_finished_run_that_is_resumed_still_knows_its_figures(
    straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main(["--resume", str(straight)]) == 0
    assert f"val_loss: {records(straight)[-1]['val_loss']:.4f}" in capsys.readouterr().out


def test_accumulated_gradients_make_one_update_also_at_the_end_of_an_epoch(tiny_config: Path, tmp_path: Path) -> None:
    folder = run(tiny_config, tmp_path / "run", "training.gradient_accumulate_every=4", "training.num_epochs=2")

    states = state_of(folder)["state_dicts"]
    steps = states["progress"]["global_step"]
    updates = 2 * -(-(steps // 2) // 4)
    assert states["ema"]["optimization_step"] == updates
    assert states["lr_schedule"]["last_epoch"] == updates


def test_the_same_seed_gives_the_same_run(straight: Path, tiny_config: Path, tmp_path: Path) -> None:
    again = run(tiny_config, tmp_path / "again")

    assert_equal_trees(state_of(straight), state_of(again))


def test_loading_workers_change_nothing(straight: Path, tiny_config: Path, tmp_path: Path) -> None:
    with_workers = run(tiny_config, tmp_path / "workers", "dataloader.num_workers=1")

    assert_equal_trees(state_of(straight)["state_dicts"]["model"], state_of(with_workers)["state_dicts"]["model"])


@pytest.mark.parametrize("option", ["training.prefetch=false", "dataloader.pin_memory=false", "profile=true"])
def test_how_batches_travel_and_that_a_run_is_measured_change_nothing(
    option: str, straight: Path, tiny_config: Path, tmp_path: Path
) -> None:
    other = run(tiny_config, tmp_path / "other", option)

    assert_equal_trees(state_of(straight), state_of(other))
    assert records(straight) == records(other)


def test_bfloat16_is_for_networks_alone(straight: Path, tiny_config: Path, tmp_path: Path) -> None:
    """Its numbers have 8 bits; over a run this short, losses stay within a percent of those in float32."""
    folder = run(tiny_config, tmp_path / "run", "training.precision=bfloat16", "training.max_grad_norm=100")

    expected, found = records(straight), records(folder)
    for key in ("train_loss", "val_loss", "train_action_mse_error"):
        numbers = [[record[key] for record in log if key in record] for log in (found, expected)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.01)
        assert numbers[0] != numbers[1]
    states = state_of(folder)["state_dicts"]
    for state in (states["model"], states["ema_model"]):
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}


def test_a_killed_run_in_bfloat16_resumes_to_the_same_end(tiny_config: Path, tmp_path: Path) -> None:
    tiny_config.write_text(tiny_config.read_text().replace("device: cpu}", "device: cpu, precision: bfloat16}"))
    straight = run(tiny_config, tmp_path / "straight")
    folder = tmp_path / "killed"
    killed = in_a_process("advance:12", "SIGKILL", str(tiny_config), f"output_dir={folder}")

    assert killed.status == -signal.SIGKILL
    assert main(["--resume", str(folder)]) == 0
    assert_equal_trees(state_of(straight), state_of(folder))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("option", "tolerance"),
    [
        ("training.prefetch=false", 1e-3),
        ("dataloader.keep_on_device=false", 1e-3),
        ("profile=true", 1e-3),
        ("training.compile=true", 1e-3),
        ("training.precision=bfloat16", 1e-2),
    ],
)
def test_a_run_on_a_gpu_is_the_same_however_it_is_made_fast(
    option: str, tolerance: float, tiny_config: Path, tmp_path: Path
) -> None:
    plain, other = (
        records(run(tiny_config, tmp_path / name, "training.device=cuda", *options))
        for name, options in (("plain", ()), ("other", (option,)))
    )

    for key in ("train_loss", "val_loss", "train_action_mse_error"):
        expected = [record[key] for record in plain if key in record]
        assert [record[key] for record in other if key in record] == pytest.approx(expected, rel=tolerance)


def test_debug_mode_is_what_the_resolved_config_shows(tiny_config: Path, tmp_path: Path) -> None:
    folder = run(tiny_config, tmp_path / "debug", "training.debug=true")

    resolved = (folder / "config.resolved.yaml").read_text()
    assert "num_epochs: 2" in resolved
    assert "max_train_steps: 3" in resolved
    assert state_of(folder)["state_dicts"]["progress"]["global_step"] == 6


def test_a_part_is_swapped_on_the_command_line(tiny_config: Path, tmp_path: Path) -> None:
    folder = run(
        tiny_config, tmp_path / "run", "policy.scheduler={name: ddpm, num_inference_steps: 3}", "training.num_epochs=1"
    )

    policy = load_policy(folder / "checkpoints" / "latest.ckpt")
    action = policy.predict_action({"state": torch.zeros(1, 2, 3)})
    assert type(policy.scheduler).__name__ == "DDPM"
    assert action["action"].shape == (1, 4, 2)
    assert action["action_pred"].shape == (1, 8, 2)


def test_a_run_directory_is_not_written_over(
    straight: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert main([str(tiny_config), f"output_dir={straight}"]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {straight} holds a run already; continue it with `dp-run --resume {straight}`, "
        "or choose another output_dir\n"
    )


def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the first epoch, too, when there is no checkpoint to continue from."""
    assert main([str(tiny_config), f"output_dir={tmp_path / 'run'}", "optimizer.lr=1e30"]) == 2

    said = re.sub(r"\d+ of \d+ tensors, first '[^']*'", "...", capsys.readouterr().err.splitlines()[-1])
    assert said == (
        "dp-run: error: the state is not saved, since it is not finite: model (...), ema_model (...), optimizer (...), "
        "progress (the mean loss of epoch 0 is nan); there is no checkpoint yet; start again with a lower optimizer.lr "
        "or training.max_grad_norm=1.0"
    )


@pytest.mark.parametrize(
    ("seed", "ratio", "said"),
    [
        (0, 0.2, None),
        (0, 0.0, "nothing is held out for validation: there will be no val_loss"),
        (
            1,
            0.2,
            "dataset.val_ratio is 0.2, but no window is held out: there will be no val_loss; hold out more episodes, "
            "or others",
        ),
    ],
)
def test_a_run_without_validation_says_so_when_it_starts(
    tiny_config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int, ratio: float, said: str | None
) -> None:
    caplog.set_level(logging.INFO)
    root = zarr.open_group(tmp_path / "tiny.zarr")
    held_out = [int(get_val_mask(5, 0.2, seed).argmax()) for seed in (0, 1)]
    lengths = np.full(5, 24)
    lengths[held_out] = 25, 3  # which is too short for a window
    root["meta/episode_ends"][:] = np.cumsum(lengths)

    options = [f"dataset.seed={seed}", f"dataset.val_ratio={ratio}", "training.num_epochs=1", "callbacks.topk=null"]
    output = run(tiny_config, tmp_path / "run", *options)

    assert [message for message in caplog.messages if "val_loss" in message] == ([said] if said else [])
    assert ("val_loss" in records(output)[-1]) == (said is None)


def test_weights_that_are_not_finite_are_not_rolled_out(tiny_config: Path, tmp_path: Path) -> None:
    """The last update can spoil them, after the last loss: nothing but a look at them tells."""
    cfg = load_config(Registry.discover(), tiny_config, ["callbacks.topk=null"])
    workspace = TrainWorkspace(cfg, tmp_path / "run")
    workspace.setup()
    workspace.runner = NeverRun(tmp_path)
    parameter = next(workspace.ema_model.parameters())
    parameter.data[:] = torch.inf
    with pytest.raises(UnsoundStateError) as caught:
        evaluate(workspace, lambda every: True)

    name = next(name for name, _ in workspace.ema_model.named_parameters())
    count = sum(1 for _ in workspace.ema_model.parameters())
    assert str(caught.value) == (
        f"the state is not saved, since it is not finite: ema_model (1 of {count} tensors, first '{name}'); there is "
        "no checkpoint yet; start again with a lower optimizer.lr or training.max_grad_norm=1.0"
    )


class NeverRun(BaseRunner):
    """Must not be asked."""

    def run(self, policy: BasePolicy) -> dict[str, Any]:
        raise AssertionError
