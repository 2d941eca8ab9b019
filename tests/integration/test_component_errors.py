"""What components raise reaches the user as one line that names them, and their traceback as a file in the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dp_core.cli.eval import main as dp_eval
from dp_core.cli.run import main
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
import attrs
from dp_core import Component, hookimpl, option
from dp_core.kit.rollout.config import RolloutOptions
from dp_replay.config import ReplayConfig
from dp_schedulers.config import DDIMConfig

DP_API = 1


@attrs.frozen(kw_only=True)
class Options:
    fails: str = option("", help="where it raises")


@attrs.frozen(kw_only=True)
class DatasetOptions(ReplayConfig):
    fails: str = option("", help="where it raises")


@attrs.frozen(kw_only=True)
class SchedulerOptions(DDIMConfig):
    fails: str = option("", help="where it raises")


@attrs.frozen(kw_only=True)
class RunnerOptions(RolloutOptions):
    n_train: int = option(0, help="episodes")
    n_test: int = option(2, help="episodes")
    n_test_vis: int = option(0, help="filmed episodes")
    max_steps: int = option(6, help="of an episode")
    fails: str = option("", help="where it raises")


@hookimpl
def dp_components():
    own = {"dataset": DatasetOptions, "scheduler": SchedulerOptions, "runner": RunnerOptions}
    for kind in ("encoder", "denoiser", "scheduler", "optimizer", "lr_schedule", "callback", "dataset", "runner"):
        target = "dp_lab.parts:" + kind.title()
        yield Component(kind=kind, name="lab", target=target, config=own.get(kind, Options), summary="fails on demand")
"""
PARTS = """
from functools import partial
from pathlib import Path

import torch
from dp_core import hookimpl
from dp_core.errors import InputError
from dp_core.interfaces import BaseCallback, BaseDenoiser, BaseEncoder
from dp_core.kit.rollout.runner import RolloutRunner
from dp_lab.table import Start, Table
from dp_replay.dataset import ReplayFileDataset
from dp_schedulers.ddim import DDIM
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import get_worker_info


def act(config, place):
    if config.fails == place:
        raise RuntimeError(f"lost in {place}")


class Encoder(BaseEncoder):
    def __init__(self, config, *, shape_meta):
        super().__init__()
        act(config, "build")
        self.config = config
        self.layer = torch.nn.Linear(2 if config.fails == "shape" else 3, 4)
        self.output_dim = 4

    def forward(self, obs):
        act(self.config, "forward")
        if not self.training:
            act(self.config, "eval")
        if self.config.fails == "user":
            raise InputError("the camera is upside down; turn it")
        features = self.layer(obs["state"])
        return features / 0 * 0 if self.config.fails == "nan" else features


class Denoiser(BaseDenoiser):
    def __init__(self, config, *, input_dim, **_):
        super().__init__()
        self.config = config
        self.layer = torch.nn.Linear(input_dim, input_dim)

    def forward(self, sample, timestep, local_cond=None, global_cond=None):
        act(self.config, "forward")
        return self.layer(sample)


class Scheduler(DDIM):
    def __init__(self, config):
        super().__init__(config)
        self.fault = partial(act, config)

    def sample(self, *arguments, **options):
        self.fault("sample")
        return super().sample(*arguments, **options)


class Optimizer(torch.optim.SGD):
    def __init__(self, config, *, policy):
        self.options = config
        super().__init__(policy.parameters(), lr=0.1)

    def step(self, closure=None):
        act(self.options, "step")
        return super().step(closure)


class Lr_Schedule(LambdaLR):
    def __init__(self, config, *, optimizer, num_training_steps):
        super().__init__(optimizer, lambda step: 1 if step == 0 else act(config, "step") or 1)


class Callback(BaseCallback):
    def __init__(self, config):
        self.config = config

    @hookimpl
    def dp_after_train_step(self):
        act(self.config, "hook")

    @hookimpl(wrapper=True)
    def dp_run(self):
        yield
        act(self.config, "wrapper")


class Dataset(ReplayFileDataset):
    def __getitems__(self, indices):
        act(self._config, "process")
        if get_worker_info() is not None:
            act(self._config, "worker")
            if self._config.fails == "user":
                raise InputError("window 3 is of another robot; leave it out")
        return super().__getitems__(indices)


class Runner(RolloutRunner):
    def __init__(self, config, *, shape_meta, output_dir):
        self.config = config
        table = partial(Table, config.fails)
        super().__init__(config, title="table", make_environment=table, action_dim=2, output_dir=output_dir)

    def starts(self, split, n_episodes):
        return [Start(split, 100_000 + index) for index in range(n_episodes)]

    def run(self, policy):
        act(self.config, "run")
        if self.config.fails == "file":
            Path("/no/such/table.xml").read_text()
        return super().run(policy)
"""
TABLE = """
import numpy as np
from dp_core.errors import InputError
from dp_core.kit.rollout.environment import Environment, Start, Step


class Shaky(Exception):
    def __init__(self, *, joint):  # cannot be unpickled
        super().__init__(f"joint {joint} is loose")


class Table(Environment):
    def __init__(self, fails):
        self.fails = fails

    def reset(self, start):
        self.steps = 0
        if self.fails == "reset":
            raise RuntimeError("lost in reset")

    def observe(self):
        return {"state": np.zeros(3, np.float32)}

    def step(self, action):
        self.steps += 1
        if self.fails == "step" and self.steps == 3:
            raise Shaky(joint=4)
        if self.fails == "user":
            raise InputError("the table has no legs; see runner.legs")
        return Step(0.0)

    def render(self):
        raise NotImplementedError
"""
LAB = {"plugin.py": PLUGIN, "parts.py": PARTS, "table.py": TABLE}
QUICK = ("training.max_train_steps=1", "training.num_epochs=1")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("packages")
    write_distribution(folder, "dp-lab", "0.3", {"lab": LAB})
    with installed(folder):
        yield folder


@pytest.fixture
def config(tiny_config: Path, packages: Path) -> Path:
    """A run of which every part is of dp-lab."""
    text = tiny_config.read_text()
    text = (
        text[: text.index("callbacks:")]
        + "callbacks: {mine: lab}\nrunner: {name: lab, n_obs_steps: 2, n_action_steps: 4}\n"
    )
    text = re.sub("encoder: .*", "encoder: lab", text)
    text = re.sub("denoiser: .*", "denoiser: lab", text)
    text = text.replace("name: ddim", "name: lab").replace("name: replay", "name: lab")
    text = re.sub("optimizer: .*", "optimizer: lab", text)
    tiny_config.write_text(re.sub("lr_schedule: .*", "lr_schedule: lab", text))
    return tiny_config


Said = Callable[..., list[str]]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def said(config: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs the config with overrides, and returns the message, without what is added once the run has begun."""

    def run(folder: Path, *overrides: str, status: int = 1) -> list[str]:
        capsys.readouterr()
        assert main([str(config), f"output_dir={folder}", *QUICK, *overrides]) == status
        lines = capsys.readouterr().err.splitlines()
        first = next(index for index, line in enumerate(lines) if line.startswith("dp-run: error: "))
        return lines[first:]

    return run


EPISODE = "the test episode with seed 100000"
WHAT = {
    "policy.encoder.fails=build": "raised RuntimeError: lost in build",
    "policy.encoder.fails=forward": "raised RuntimeError: lost in forward",
    "policy.encoder.fails=eval": "raised RuntimeError: lost in eval",
    "policy.encoder.fails=shape": "raised RuntimeError: mat1 and mat2 shapes cannot be multiplied (16x3 and 2x4)",
    "policy.encoder.fails=nan": "returned NaN or infinity in 16 of 16 rows, for finite values of 'state' (3,)",
    "policy.denoiser.fails=forward": "raised RuntimeError: lost in forward",
    "policy.scheduler.fails=sample": "raised RuntimeError: lost in sample",
    "optimizer.fails=step": "raised RuntimeError: lost in step",
    "lr_schedule.fails=step": "raised RuntimeError: lost in step",
    "callbacks.mine.fails=hook": "raised RuntimeError: lost in hook",
    "callbacks.mine.fails=wrapper": "raised RuntimeError: lost in wrapper",
    "dataset.fails=process": "raised RuntimeError: lost in process",
    "dataset.fails=worker dataloader.num_workers=1": "raised RuntimeError: lost in worker",
    "dataset.fails=worker val_dataloader.num_workers=1": "raised RuntimeError: lost in worker",
    "runner.fails=run": "raised RuntimeError: lost in run",
    "runner.fails=reset": f"raised at the start of {EPISODE}: RuntimeError: lost in reset",
    "runner.fails=step": f"raised in step 3 of {EPISODE}: Shaky: joint 4 is loose",
    "runner.fails=step runner.num_workers=1": f"raised in step 3 of {EPISODE}: Shaky: joint 4 is loose",
}


def message(options: str) -> str:
    path = options.partition(".fails=")[0]
    kind = {"mine": "callback"}.get(name := path.rpartition(".")[2], name)
    return f"{path}: {kind} 'lab' of dp-lab 0.3 {WHAT[options]}"


@pytest.mark.parametrize("options", WHAT)
def test_a_component_that_raises_is_named_and_its_traceback_kept(options: str, tmp_path: Path, said: Said) -> None:
    folder = tmp_path / "run"

    lines = said(folder, *options.split())

    assert lines[0] == f"dp-run: error: {message(options)}"
    assert lines[-1] == f"the traceback is in {folder}/error.log"
    traceback = (folder / "error.log").read_text()
    assert f"\ndp_core.errors.ComponentError: {message(options)}\n" in traceback
    if "nan" not in options:
        own = "table.py" if "Shaky" in lines[0] or "reset" in options else "parts.py"
        assert re.search(rf'File ".*/dp_lab/{own}", line \d+, in ', traceback)


def test_what_was_trained_is_saved_before_and_the_run_continues(tmp_path: Path, said: Said) -> None:
    folder = tmp_path / "run"
    lines = said(folder, "runner.fails=step", "runner.num_workers=1")

    assert lines == [
        f"dp-run: error: {message('runner.fails=step')}",
        f"the state is saved. Continue with: dp-run --resume {folder}",
        f"the traceback is in {folder}/error.log",
    ]
    assert main(["--resume", str(folder), "runner.num_workers=0"]) == 1
    assert (folder / "error.log").read_text().count(message("runner.fails=step")) == 2
    assert main(["--resume", str(folder), "runner.num_workers=0", "runner.fails=never"]) == 0


@pytest.mark.parametrize("options", ["dataset.fails=worker dataloader.num_workers=1", "lr_schedule.fails=step"])
def test_the_traceback_is_shown_to_who_asks(options: str, tmp_path: Path, config: Path, capsys: Capture) -> None:
    arguments = [str(config), f"output_dir={tmp_path / 'run'}", *QUICK, *options.split()]
    assert main([*arguments, "--traceback"]) == 1

    shown = capsys.readouterr().err
    assert re.search(r'File ".*/dp_lab/parts.py", line \d+, in act', shown)
    assert shown.count(f"\ndp-run: error: {message(options)}\n") == 1


WHEN = f"in step 1 of {EPISODE}"
MISTAKES = {
    "policy.encoder.fails=user": ["the camera is upside down; turn it"],
    "dataset.fails=user dataloader.num_workers=1": ["window 3 is of another robot; leave it out"],
    "runner.fails=user": ["the table has no legs; see runner.legs", WHEN, "SAVED"],
    "runner.fails=user runner.num_workers=1": ["the table has no legs; see runner.legs", WHEN, "SAVED"],
    "runner.fails=file": ["/no/such/table.xml: No such file or directory", "SAVED", "raised by runner: runner 'lab' of "
                          "dp-lab 0.3", "LOG"],
}  # fmt: skip


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_of_the_user_keep_their_text_and_status(options: str, tmp_path: Path, said: Said) -> None:
    folder = tmp_path / "run"
    known = {
        "SAVED": f"the state is saved. Continue with: dp-run --resume {folder}",
        "LOG": f"the traceback is in {folder}/error.log",
    }

    lines = said(folder, *options.split(), status=2)

    first, *others = MISTAKES[options]
    assert lines == [f"dp-run: error: {first}", *(known.get(line, line) for line in others)]
    assert (folder / "error.log").exists() == ("LOG" in others)


def test_a_directory_in_which_nothing_was_built_is_free(tmp_path: Path, said: Said, config: Path) -> None:
    folder = tmp_path / "run"
    said(folder, "policy.encoder.fails=build")

    assert [path.name for path in folder.iterdir()] == ["error.log"]
    assert main([str(config), f"output_dir={folder}", *QUICK]) == 0


def test_an_evaluation_does_the_same(tmp_path: Path, config: Path, capsys: Capture) -> None:
    assert main([str(config), f"output_dir={tmp_path / 'run'}", *QUICK, "runner.n_test=1"]) == 0
    checkpoint, output = tmp_path / "run" / "checkpoints" / "latest.ckpt", tmp_path / "eval"
    capsys.readouterr()

    assert dp_eval([str(checkpoint), "--output", str(output), "--device", "cpu", "runner.fails=step"]) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"dp-eval: error: {message('runner.fails=step')}",
        f"the traceback is in {output}/error.log",
    ]
    assert "dp_lab/table.py" in (output / "error.log").read_text()
