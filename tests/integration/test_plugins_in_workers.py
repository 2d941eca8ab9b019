"""Processes that are spawned, for environments and for data, find the components that their parent finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from dp_core.discovery.switches import switched
from dp_core.kit.rollout.environment import Start
from dp_core.kit.rollout.episode import EpisodeOptions
from dp_core.kit.rollout.workers import WorkerGroup
from dp_core.registry import Registry
from dp_core.testing.fakes import installed, write_distribution

PLUGIN = """
import attrs
from dp_core import Component, hookimpl

DP_API = 1

@attrs.frozen(kw_only=True)
class Options:
    pass

@hookimpl
def dp_components():
    for kind in ("dataset", "runner"):
        yield Component(kind=kind, name="NAME", target="dp_seen.tasks:" + kind.title(), config=Options, summary="")
"""
TASKS = """
import numpy as np
from dp_core.registry import Registry
from dp_core.kit.rollout.environment import Environment, Step

def seen():
    return sorted({component.qualified_name for component in Registry.discover().components()})

class Dataset:
    def __init__(self, config):
        self.config = config

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return seen()

class Runner(Environment):
    def reset(self, start):
        pass

    def observe(self):
        return {"nothing": np.zeros(1, np.float32)}

    def step(self, action):
        return Step(0.0)

    def render(self):
        raise NotImplementedError

    def measure(self):
        return dict.fromkeys(seen(), 1.0)
"""


@pytest.fixture
def switches(tmp_path: Path) -> Iterator[None]:
    """Plugins `seen` and `blocked` of one package, a module that nobody installed, and the switches to use them."""
    sources = {name: PLUGIN.replace("NAME", name) for name in ("seen", "blocked", "my_task")}
    plugins = {"seen": {"plugin.py": sources["seen"], "tasks.py": TASKS}, "blocked": sources["blocked"]}
    write_distribution(tmp_path, "dp-seen", "1.0", plugins)
    (tmp_path / "my_task.py").write_text(sources["my_task"])
    with installed(tmp_path), switched(["no:blocked", "my_task", "no:dp-core"]):
        yield


def test_an_environment_s_process_finds_what_its_parent_finds(switches: None) -> None:
    make_environment = Registry.discover().resolve("runner", "my_task").load()
    group = WorkerGroup(EpisodeOptions(make_environment, n_obs_steps=1, max_steps=1, fps=10), 1, "seen")
    try:
        group.start({0: Start("test", 0)})
        outcome = group.execute({0: np.zeros((1, 1), np.float32)})[0].outcome
    finally:
        group.close()

    assert outcome is not None
    assert sorted(outcome.measures) == ["dp-seen/seen", "local/my_task"]


def test_a_loader_s_process_finds_what_its_parent_finds(switches: None) -> None:
    dataset = Registry.discover().build("dataset", "seen")
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")

    assert list(loader) == [["dp-seen/seen", "local/my_task"]]
