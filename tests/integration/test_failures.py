"""A run that an error or a kill ends loses nothing that it trained, and ends where one without it would have ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import dp_core.training.loop as loop
from dp_core import hookimpl
from dp_core.checkpoint import read_payload
from dp_core.cli.run import main
from dp_core.discovery.hook_manager import run_hooks
from dp_core.errors import ComponentError
from dp_core.interfaces import BaseCallback
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_core.testing.fakes import installed, write_distribution
from dp_diffusion.policy import DiffusionPolicy
from dp_replay.dataset import ReplayDataset
from dp_training.workspace import TrainWorkspace

PLUGIN = """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1


@attrs.frozen(kw_only=True)
class Options:
    mood: str = option(help="a file; what it says happens")


@hookimpl
def dp_components():
    for kind in ("runner", "callback"):
        target = "dp_trouble.parts:" + kind.title()
        yield Component(kind=kind, name="trouble", target=target, config=Options, summary="fails on demand")
"""
PARTS = """
import os
import signal
from pathlib import Path

import numpy as np
import torch

from dp_core import hookimpl
from dp_core.errors import InputError
from dp_core.interfaces import BaseCallback, BaseRunner


def act(mood, place):
    told = Path(mood).read_text() if Path(mood).is_file() else ""
    if told == f"{place} raises":
        torch.rand(3), np.random.rand(3)  # a resumed run must not see that
        raise RuntimeError("the simulator broke")
    if told == f"{place} says what is wrong":
        raise InputError("the simulator broke")
    if told == f"{place} is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if told == f"{place} loses its pipe":
        raise BrokenPipeError("of a process that is gone")


class Runner(BaseRunner):
    def __init__(self, config, *, shape_meta, output_dir):
        super().__init__(output_dir)
        self.mood = config.mood

    def run(self, policy):
        act(self.mood, "rollout")
        return {"test/mean_score": float(next(policy.parameters()).double().sum())}


class Callback(BaseCallback):
    def __init__(self, config):
        self.mood = config.mood
        self.heard = []

    def state_dict(self):
        return {"heard": self.heard}

    def load_state_dict(self, state):
        self.heard = list(state["heard"])

    @hookimpl
    def dp_before_epoch(self):
        act(self.mood, "dp_before_epoch")

    @hookimpl
    def dp_after_train_step(self):
        act(self.mood, "dp_after_train_step")

    @hookimpl
    def dp_after_rollout(self):
        self.heard.append("rollout")

    @hookimpl
    def dp_after_epoch(self, metrics):
        self.heard.append(metrics["epoch"])
        act(self.mood, "dp_after_epoch")
"""
CALLBACKS = """
callbacks:
  log: {name: json_log}
  trouble: {name: trouble, mood: MOOD}
  topk: {name: topk, monitor_key: test/mean_score, mode: max, k: 2}
runner: {name: trouble, mood: MOOD}
"""
OPTIONS = "training: {num_epochs: 3, checkpoint_every: 1, device: cpu}"
RARELY = "training: {num_epochs: 3, checkpoint_every: 50, rollout_every: 50, sample_every: 50, device: cpu}"
"""Epoch 1 has nothing but a validation."""


@pytest.fixture
def packages(tmp_path: Path) -> Iterator[Path]:
    """A runner and a callback that do what the file ``mood`` says."""
    folder = tmp_path / "packages"
    write_distribution(folder, "dp-trouble", plugins={"trouble": {"plugin.py": PLUGIN, "parts.py": PARTS}})
    with installed(folder):
        yield folder


@pytest.fixture
def config(tiny_config: Path, packages: Path) -> Path:
    text = tiny_config.read_text()
    text = text[: text.index("callbacks:")] + CALLBACKS.replace("MOOD", str(tiny_config.with_name("mood")))
    tiny_config.write_text(text.replace(OPTIONS, RARELY))
    return tiny_config


@pytest.fixture
def mood(tmp_path: Path) -> Path:
    return tmp_path / "mood"


def in_a_process(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``dp-run``, which may be killed."""
    path = f"{packages}:{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-c", "import sys; from dp_core.cli.run import main; sys.exit(main())", *arguments]
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def run(config: Path, folder: Path, *overrides: str) -> Path:
    assert main([str(config), f"output_dir={folder}", *overrides]) == 0
    return folder


def left_by(folder: Path) -> dict[str, Any]:
    """All that a run leaves, in a form that can be compared: the log, names of checkpoints, the latest one's state."""
    payload = read_payload(folder / "checkpoints" / "latest.ckpt")
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    log = [json.loads(line) for line in (folder / "logs.json.txt").read_text().splitlines()]
    return {"log": log, "names": names, "states": payload["state_dicts"], "callbacks": payload["callbacks"]}


def progress_of(folder: Path) -> dict[str, Any]:
    return read_payload(folder / "checkpoints" / "latest.ckpt")["state_dicts"]["progress"]


def assert_same(expected: Any, found: Any, path: str = "") -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(expected, found), path
    elif isinstance(expected, dict):
        assert expected.keys() == found.keys(), path
        for key, value in expected.items():
            assert_same(value, found[key], f"{path}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(expected) == len(found), path
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            assert_same(one, other, f"{path}[{index}]")
    else:
        assert expected == found, path


class Failing:
    """Starts a run whose component fails, and returns what the command says of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, config: Path, folder: Path, *overrides: str) -> list[str]:
        self.capsys.readouterr()
        assert main([str(config), f"output_dir={folder}", *overrides]) == 1
        lines = self.capsys.readouterr().err.splitlines()
        first = next(index for index, line in enumerate(lines) if line.startswith("dp-run: error: "))
        assert lines[-1] == f"the traceback is in {folder}/error.log"
        return [lines[first].removeprefix("dp-run: error: "), *lines[first + 1 : -1]]


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Failing:
    return Failing(capsys)


def saved_in(folder: Path) -> str:
    return f"the state is saved. Continue with: dp-run --resume {folder}"


RUNNER = "runner: runner 'trouble' of dp-trouble 1.0 raised RuntimeError: the simulator broke"
CALLBACK = "callbacks.trouble: callback 'trouble' of dp-trouble 1.0 raised RuntimeError: the simulator broke"
POLICY = f"policy: policy 'diffusion' of dp-core {version('dp-core')} raised RuntimeError: out of memory"
LOOP = f"workspace: workspace 'train' of dp-core {version('dp-core')} raised RuntimeError: out of memory"
DATA = f"dataset: dataset 'replay' of dp-core {version('dp-core')} raised OSError: the disk is gone"


def test_a_rollout_that_raises_in_the_first_epoch_costs_nothing(
    config: Path, mood: Path, tmp_path: Path, failing: Failing
) -> None:
    straight, folder = run(config, tmp_path / "straight"), tmp_path / "run"

    mood.write_text("rollout raises")
    said = failing(config, folder)
    saved = progress_of(folder)
    mood.unlink()

    assert said == [RUNNER, saved_in(folder)]
    assert (saved["epoch"], saved["global_step"]) == (0, 9)
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


@pytest.mark.parametrize("place", ["dp_after_epoch", "dp_before_epoch"])
@pytest.mark.parametrize("start", [0, 1])
def test_a_callback_that_raises_between_epochs_costs_nothing(
    place: str, start: int, config: Path, mood: Path, tmp_path: Path, failing: Failing
) -> None:
    """The first epoch has a rollout and is saved; the second is neither. All callbacks hear of it once, or again."""
    straight, folder = run(config, tmp_path / "straight"), tmp_path / "run"
    original = loop.train_epoch

    def train_and_change_mood(workspace: Any, interrupts: Any) -> None:
        original(workspace, interrupts)
        if workspace.progress.epoch == start:
            mood.write_text(f"{place} raises")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_epoch", train_and_change_mood)
        said = failing(config, folder)
    saved = progress_of(folder)
    mood.unlink()

    assert said == [CALLBACK, saved_in(folder)]
    assert saved["global_step"] == 9 * (start + 1)
    assert saved["epoch"] == (start if place == "dp_after_epoch" else start + 1)
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


def test_a_validation_that_raises_costs_nothing(
    config: Path, tmp_path: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, folder = run(config, tmp_path / "straight"), tmp_path / "run"
    original, calls = loop.validation_loss, []

    def validate_once(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 2:
            torch.rand(3)
            raise RuntimeError("out of memory")
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "validation_loss", validate_once)
        said = failing(config, folder)

    assert said == [LOOP, saved_in(folder)]
    assert progress_of(folder)["global_step"] == 18
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


@pytest.mark.parametrize("accumulated", [1, 2])
def test_data_that_cannot_be_loaded_in_the_middle_of_an_epoch_cost_nothing(
    accumulated: int, config: Path, tmp_path: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = f"training.gradient_accumulate_every={accumulated}"
    straight, folder = run(config, tmp_path / "straight", options), tmp_path / "run"
    original, calls = ReplayDataset.__getitems__, []

    def load_a_few(self: ReplayDataset, batch: list[int]) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 7:  # the first is for sampling
            raise OSError("the disk is gone")
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ReplayDataset, "__getitems__", load_a_few)
        said = failing(config, folder, options)

    assert said == [DATA, saved_in(folder)]
    assert progress_of(folder)["global_step"] == 5 // accumulated * accumulated
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


def test_a_training_step_that_raises_costs_nothing_but_itself(
    config: Path, tmp_path: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its noise is drawn already; the resumed run draws the same again."""
    options = "training.gradient_accumulate_every=2"
    straight, folder = run(config, tmp_path / "straight", options), tmp_path / "run"
    original, calls = DiffusionPolicy.compute_loss, []

    def fail_in_the_sixth(self: DiffusionPolicy, *arguments: Any) -> torch.Tensor:
        calls.append(1)
        loss = original(self, *arguments)
        if len(calls) == 6:
            raise RuntimeError("out of memory")
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionPolicy, "compute_loss", fail_in_the_sixth)
        said = failing(config, folder, options)

    assert said == [POLICY, saved_in(folder)]
    assert progress_of(folder)["global_step"] == 4
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


def test_an_error_in_the_middle_of_an_update_saves_nothing_and_says_so(
    config: Path, tmp_path: Path, failing: Failing
) -> None:
    folder = tmp_path / "run"
    calls = []

    def step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        calls.append(1)
        if len(calls) == 12:
            raise RuntimeError("out of memory")

    handle = register_optimizer_step_post_hook(step)
    try:
        said = failing(config, folder)
    finally:
        handle.remove()

    assert said == [
        LOOP,
        "the state is not saved: the error came in the middle of an update; the last checkpoint is "
        f"{folder}/checkpoints/latest.ckpt, of the end of epoch 0. Continue with: dp-run --resume {folder}",
    ]


def test_a_callback_that_raises_after_a_step_does_not_undo_it(
    config: Path, mood: Path, tmp_path: Path, failing: Failing
) -> None:
    folder = tmp_path / "run"
    mood.write_text("dp_after_train_step raises")

    said = failing(config, folder, "training.gradient_accumulate_every=2")

    assert said == [CALLBACK, saved_in(folder)]
    assert progress_of(folder)["global_step"] == 2


@pytest.mark.parametrize("rollout_every", [50, 1])
def test_a_run_that_is_killed_in_a_rollout_loses_nothing(
    rollout_every: int, config: Path, packages: Path, mood: Path, tmp_path: Path
) -> None:
    options = f"training.rollout_every={rollout_every}"
    straight, folder = run(config, tmp_path / "straight", options), tmp_path / "run"
    mood.write_text("rollout is killed")

    killed = in_a_process(packages, str(config), f"output_dir={folder}", options)
    saved = progress_of(folder)
    mood.unlink()

    assert killed.returncode == -signal.SIGKILL
    assert (saved["epoch"], saved["global_step"]) == (0, 9)
    assert main(["--resume", str(folder)]) == 0
    assert_same(left_by(straight), left_by(folder))


@pytest.mark.parametrize(
    ("what", "status", "error"),
    [
        ("rollout says what is wrong", 2, "the simulator broke"),
        ("rollout raises", 1, RUNNER),
        (
            "rollout loses its pipe",
            1,
            RUNNER.replace("RuntimeError: the simulator broke", "BrokenPipeError: of a process that is gone"),
        ),
    ],
)
def test_the_command_says_what_is_saved_and_how_to_resume(
    what: str, status: int, error: str, config: Path, packages: Path, mood: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    mood.write_text(what)

    ended = in_a_process(packages, str(config), f"output_dir={folder}")

    assert ended.returncode == status
    said = [f"dp-run: error: {error}", saved_in(folder)]
    said += [f"the traceback is in {folder}/error.log"] if status == 1 else []
    assert ended.stderr.splitlines()[-len(said) :] == said


def test_an_error_before_anything_is_trained_saves_nothing(
    config: Path, mood: Path, tmp_path: Path, failing: Failing
) -> None:
    mood.write_text("dp_before_epoch raises")

    said = failing(config, tmp_path / "run")

    assert said == [CALLBACK]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_where_the_state_cannot_be_written_the_first_error_is_the_one_that_is_raised(
    config: Path, mood: Path, tmp_path: Path, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on disk stays, and the note says of when it is."""
    folder = tmp_path / "run"
    original, calls = loop.train_epoch, []

    def train_and_fill_the_disk(workspace: Any, interrupts: Any) -> None:
        original(workspace, interrupts)
        calls.append(1)
        if len(calls) == 2:
            monkeypatch.setattr(Path, "open", refuse)
            mood.write_bytes(b"")
            raise RuntimeError("and the disk is full")

    def refuse(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".part":
            raise OSError(28, "No space left on device")
        return io_open(path, mode, *arguments, **options)

    io_open = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", train_and_fill_the_disk)
        said = failing(config, folder)

    latest = folder / "checkpoints" / "latest.ckpt"
    assert said == [
        LOOP.replace("out of memory", "and the disk is full"),
        f"the state is not saved: {latest}: cannot be written: No space left on device; the last checkpoint is "
        f"{latest}, of the end of epoch 0. Continue with: dp-run --resume {folder}",
    ]


def test_a_checkpoint_made_for_a_rollout_is_completed_after_it(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although no checkpoint was due: a run that is killed in the next epoch need not evaluate this one again."""
    folder, epochs = tmp_path / "run", []
    original = loop.train_epoch

    def look_and_train(workspace: Any, interrupts: Any) -> None:
        if workspace.progress.epoch:
            workspace.close()
            epochs.append(progress_of(folder)["epoch"])
        original(workspace, interrupts)

    monkeypatch.setattr(loop, "train_epoch", look_and_train)
    run(config, folder, "training.rollout_every=1")

    assert epochs == [1, 2]
    assert len(left_by(folder)["names"]) == 3, "of epoch 0 and 2, when checkpoints were due, and the latest"


class Noise(BaseCallback):
    """Draws from the generator that training draws from; interrupts the run before a batch of the second epoch."""

    def __init__(self, *, interrupts: bool) -> None:
        self.interrupts = interrupts

    @hookimpl
    def dp_after_train_step(self, metrics: dict[str, Any]) -> None:
        torch.rand(3)
        if self.interrupts and metrics["global_step"] == 11:
            os.kill(os.getpid(), signal.SIGTERM)


def a_run(config: Path, folder: Path, callback: BaseCallback, *options: str) -> TrainWorkspace:
    workspace = TrainWorkspace(load_config(Registry.discover(), config, list(options)), folder)
    workspace.callbacks["own"] = callback
    workspace.hooks = run_hooks(workspace.callbacks, workspace)
    return workspace


def test_what_callbacks_draw_after_a_step_is_drawn_once(config: Path, tmp_path: Path) -> None:
    a_run(config, tmp_path / "straight", Noise(interrupts=False)).run()
    with pytest.raises(KeyboardInterrupt):
        a_run(config, tmp_path / "run", Noise(interrupts=True)).run()

    resumed = a_run(config, tmp_path / "run", Noise(interrupts=False))
    resumed.load_checkpoint()
    resumed.run()

    assert_same(left_by(tmp_path / "straight"), left_by(tmp_path / "run"))


def test_gradients_that_an_error_leaves_are_not_those_of_a_run_that_is_called_again(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two batches whose gradients make one update, the first was done."""
    accumulated = "training.gradient_accumulate_every=2"
    straight, folder = run(config, tmp_path / "straight", accumulated), tmp_path / "run"
    workspace = a_run(config, folder, BaseCallback(), accumulated)
    with monkeypatch.context() as patch:
        patch.setattr(DiffusionPolicy, "compute_loss", raising_in_call(4, DiffusionPolicy.compute_loss))
        with pytest.raises(ComponentError, match="out of memory"):
            workspace.run()

    workspace.run()

    assert_same(left_by(straight)["log"], left_by(folder)["log"])


def raising_in_call(number: int, function: Any) -> Any:
    calls: list[int] = []

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise RuntimeError("out of memory")
        return function(*arguments, **options)

    return call


class Upload(BaseCallback):
    """Fails for the second checkpoint, in the thread that writes it; then lets training fail as well."""

    def __init__(self) -> None:
        self.uploads = 0
        self.failed = threading.Event()

    @hookimpl
    def dp_after_checkpoint_save(self) -> None:
        self.uploads += 1
        if self.uploads == 2:
            self.failed.set()
            raise RuntimeError("no answer from the server")

    @hookimpl
    def dp_after_train_step(self, metrics: dict[str, Any]) -> None:
        if metrics["global_step"] == 11:
            assert self.failed.wait(60)
            raise RuntimeError("a later error")


def test_a_file_that_failed_earlier_does_not_keep_the_state_from_being_saved(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    options = ("runner=null", "callbacks.topk=null", "training.sample_every=1", "training.val_every=9")

    with pytest.raises(ComponentError) as caught:
        a_run(config, folder, Upload(), *options).run()

    assert str(caught.value) == "callbacks.own: callback 'Upload' raised RuntimeError: a later error"
    assert caught.value.__notes__[0] == saved_in(folder)
    assert progress_of(folder)["global_step"] == 12
