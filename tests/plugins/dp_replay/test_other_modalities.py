"""Text, and what is recorded once in an episode, from the recording to the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.errors import DataError
from dp_replay.buffer import ReplayBuffer
from dp_replay.config import ReplayConfig, WindowOptions
from dp_replay.dataset import ReplayDataset, ReplayFileDataset

SHAPE_META: dict[str, Any] = {
    "obs": {
        "pos": {"shape": [1]},
        "told": {"shape": [], "type": "text"},
        "goal": {"shape": [2], "when": "episode"},
        "task": {"shape": [], "type": "text", "when": "episode"},
    },
    "action": {"shape": [1]},
}
TOLD = [["go", "go left", "stöp"], ["stop", "go", "a rather longer sentence", "go"]]
WINDOW = {"horizon": 3, "n_obs_steps": 2, "n_action_steps": 2}


def recorded() -> ReplayBuffer:
    buffer = ReplayBuffer()
    for episode, told in enumerate(TOLD):
        steps = np.arange(len(told), dtype=np.float32)[:, None] + 10 * episode
        once = {"goal": np.array([episode, 7.0]), "task": f"task {episode}"}
        buffer.append({"pos": steps, "action": steps, "told": told}, once=once)
    return buffer


@pytest.mark.parametrize("name", ["mine.zarr", "mine.zarr.zip"])
def test_strings_and_goals_are_read_back_as_they_were_recorded(tmp_path: Path, name: str) -> None:
    again = ReplayBuffer.load(recorded().save(tmp_path / name))

    assert again.keys() == ["action", "pos", "told", "goal", "task"]
    assert again.once_keys == ["goal", "task"]
    assert again["told"].tolist() == [*TOLD[0], *TOLD[1]]
    assert again["goal"].tolist() == [[0, 7], [1, 7]]
    assert again["task"].tolist() == ["task 0", "task 1"]


def test_a_window_repeats_what_is_once_in_its_episode(tmp_path: Path) -> None:
    path = recorded().save(tmp_path / "mine.zarr")
    dataset = ReplayFileDataset(ReplayConfig(path=path, **WINDOW), shape_meta=SHAPE_META)

    batch = dataset.__getitems__(list(range(len(dataset))))

    obs = batch["obs"]
    episodes = (obs["pos"][:, 0, 0] >= 10).long()
    assert torch.equal(obs["goal"], torch.stack([episodes, torch.full_like(episodes, 7)], 1)[:, None].expand(-1, 2, -1))
    assert obs["task"].tolist() == [[f"task {episode}"] * 2 for episode in episodes]
    spoken = [*TOLD[0], *([""] * 7), *TOLD[1]]
    assert obs["told"].tolist() == [[spoken[int(step)] for step in steps] for steps in obs["pos"][:, :, 0]]
    assert dataset[0]["obs"]["told"].tolist() == ["go", "go"]
    assert sorted(dataset.get_normalizer().keys()) == ["action", "goal", "pos"]
    assert dataset.keep_on_device(torch.device("cpu"))


def dataset_of(**arrays: Any) -> ReplayDataset:
    steps = np.arange(7, dtype=np.float32)[:, None]
    data = {"pos": steps, "action": steps, "told": np.array(["go"] * 7), "task": np.array(["do"] * 7), **arrays}
    buffer = ReplayBuffer(data, [3, 7])
    return ReplayDataset(WindowOptions(**WINDOW), buffer, shape_meta=SHAPE_META, source="memory")


def test_what_does_not_change_within_episodes_may_be_recorded_at_each_step() -> None:
    goal = np.repeat([[1.0, 2.0], [3.0, 4.0]], [3, 4], axis=0)

    assert dataset_of(goal=goal)[0]["obs"]["goal"].tolist() == [[1, 2], [1, 2]]
    goal[5] += 1
    with pytest.raises(DataError) as caught:
        dataset_of(goal=goal)
    assert str(caught.value) == (
        "memory: 'goal' has when: episode, and changes in step 2 of episode 1; record it once in an episode, or leave "
        "out when"
    )


def test_what_was_recorded_once_is_asked_for_as_that(tmp_path: Path) -> None:
    path = recorded().save(tmp_path / "mine.zarr")
    obs = {**SHAPE_META["obs"], "goal": {"shape": [2]}}

    with pytest.raises(DataError) as caught:
        ReplayFileDataset(ReplayConfig(path=path, **WINDOW), shape_meta={**SHAPE_META, "obs": obs})

    assert str(caught.value) == (
        f"{path}: 'goal' was recorded once in an episode; say when: episode in shape_meta.obs.goal"
    )


@pytest.mark.parametrize(
    ("episode", "once", "message"),
    [
        (
            {"pos": [[1.0]], "goal": [[1.0, 2.0]]},
            {"goal": [1.0, 2.0]},
            "episode 1: 'goal' is given at each step and once; choose one of them",
        ),
        ({"pos": [[1.0]]}, {}, "episode 1: has 'pos'; the episodes before have 'pos', 'goal'"),
        (
            {"pos": [[1.0]], "goal": [[1.0, 2.0]]},
            {},
            "'goal' is observed at each step in episode 1 and once before; choose one of them for all episodes",
        ),
    ],
)
def test_an_episode_with_other_goals_than_those_before_is_refused(episode: Any, once: Any, message: str) -> None:
    buffer = ReplayBuffer()
    buffer.append({"pos": [[1.0]]}, once={"goal": [1.0, 2.0]})

    with pytest.raises(DataError) as caught:
        buffer.append(episode, once=once)

    assert str(caught.value) == message


def test_a_string_where_numbers_are_meant_is_one_line() -> None:
    with pytest.raises(DataError) as caught:
        dataset_of(goal=np.array([["a", "b"]] * 7))

    assert str(caught.value) == (
        "memory: 'goal' has strings; expected numbers; of sentences, the type in shape_meta is text"
    )


def test_goals_of_another_number_than_the_episodes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'goal' is to be once in an episode and has 3 rows; expected 2"):
        ReplayBuffer({"pos": np.zeros((4, 1))}, [2, 4], once={"goal": np.zeros((3, 2))})
