"""The data set of Push-T: published demonstrations, and those with states only."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dp_pusht.config import PushTDatasetConfig
from dp_pusht.dataset import PushTDataset
from dp_pusht.demonstrations import Demonstration, load_demonstrations, save_demonstrations
from dp_pusht.frames import load_frames
from dp_pusht.keypoints import keypoints, low_dim_observation
from dp_pusht.render import render_observation
from dp_pusht.shapes import OBSERVATIONS
from dp_replay.store import open_store

ACTION = {"shape": [2]}
WINDOW = {"horizon": 16, "n_obs_steps": 2, "n_action_steps": 8}


def shape_meta_of(*keys: str) -> dict[str, Any]:
    return {"obs": {key: OBSERVATIONS[key] for key in keys}, "action": ACTION}


def make_dataset(path: Path | None, *keys: str, **options: Any) -> PushTDataset:
    return PushTDataset(PushTDatasetConfig(path=path, **WINDOW, **options), shape_meta=shape_meta_of(*keys))


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    """A file as `dp-data expert pusht` writes it, of two short episodes."""
    random = np.random.default_rng(0)
    demonstrations = [
        Demonstration(state=random.uniform([50, 50, 100, 100, 0], [450, 450, 400, 400, 6.2], (n, 5)),
                      action=random.uniform(0, 512, (n, 2)))
        for n in (18, 22)
    ]  # fmt: skip
    save_demonstrations(tmp_path / "mine.npz", demonstrations)
    return tmp_path / "mine.npz"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_observation_of_push_t_can_be_chosen(compact):
    dataset = make_dataset(compact, *OBSERVATIONS)
    stored = load_demonstrations(compact)
    item = dataset[3]  # observes steps 2 and 3

    assert list(item["obs"]) == list(OBSERVATIONS)
    for key, spec in OBSERVATIONS.items():
        assert item["obs"][key].shape == (2, *spec["shape"])
        assert item["obs"][key].dtype == (torch.uint8 if key == "image" else torch.float32)
    state = stored["state"][2:4]
    np.testing.assert_array_equal(item["obs"]["agent_pos"], state[:, :2])
    np.testing.assert_array_equal(item["obs"]["keypoint"], keypoints(state))
    np.testing.assert_array_equal(item["obs"]["obs"], low_dim_observation(state))
    np.testing.assert_array_equal(item["obs"]["image"][1], render_observation(state[1]).transpose(2, 0, 1))
    np.testing.assert_array_equal(item["action"], stored["action"][2:18])


def test_images_are_drawn_once_and_then_read(compact, cache, monkeypatch):
    first = make_dataset(compact, "image")[0]["obs"]["image"]
    (file,) = cache.iterdir()
    written = file.stat().st_mtime_ns

    second = make_dataset(compact, "image")[0]["obs"]["image"]

    assert torch.equal(first, second)
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [written]


def test_other_states_have_other_images_in_the_cache(cache):
    states = np.array([[100, 100, 200, 200, 0], [100, 100, 200, 200, 1]], np.float32)
    ends = np.array([2])

    assert not np.array_equal(load_frames(states, ends), load_frames(states[::-1], ends))
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_cache_is_drawn_again(compact, cache, caplog):
    expected = make_dataset(compact, "image")[0]["obs"]["image"]
    (file,) = cache.iterdir()
    file.write_bytes(b"damaged")

    with caplog.at_level(logging.WARNING):
        drawn = make_dataset(compact, "image")[0]["obs"]["image"]

    assert torch.equal(drawn, expected)
    assert caplog.messages[0].startswith(f"{file}: is neither a folder nor a complete .zip")
    assert file.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_is_a_warning(compact, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "file" / "cache"))

    with caplog.at_level(logging.WARNING):
        make_dataset(compact, "image")

    assert caplog.messages[0].startswith("images cannot be kept for the next run in")


def test_the_demonstrations_of_the_project_are_the_default():
    dataset = make_dataset(None, "obs", val_ratio=0.02)

    assert len(dataset) > 10_000
    assert len(dataset.get_validation_dataset()) > 100
    batch = dataset.__getitems__([0, 1, 2])
    assert batch["obs"]["obs"].shape == (3, 2, 20)
    assert (batch["action"] >= 0).all()
    assert (batch["action"] <= 512).all()


def test_a_missing_file_is_found_before_the_run():
    told = {
        path: list(PushTDatasetConfig(path=Path(path), **WINDOW).preflight()) for path in ("data/x.zip", "data/x.npz")
    }

    assert told == {
        "data/x.zip": [
            (
                "path",
                "'data/x.zip' does not exist; get it with 'dp-data download pusht --output data/x.zip', "
                "or use null for the demonstrations that come with the project",
            )
        ],
        "data/x.npz": [
            (
                "path",
                "'data/x.npz' does not exist; get it with 'dp-data expert pusht --output data/x.npz', "
                "or use null for the demonstrations that come with the project",
            )
        ],
    }
    assert list(PushTDatasetConfig(**WINDOW).preflight()) == []


def test_what_push_t_does_not_offer_is_found_before_the_run():
    shape_meta = {"obs": {"wrist": {"shape": [3, 96, 96], "type": "rgb"}}, "action": ACTION}

    assert list(PushTDatasetConfig(**WINDOW).check(shape_meta)) == [
        (
            "",
            "shape_meta.obs has 'wrist', which Push-T does not give; "
            "choose from 'image', 'agent_pos', 'keypoint', 'state', 'obs'",
        )
    ]


def test_keypoints_are_those_recorded_in_the_published_demonstrations(pusht_archive):
    with open_store(pusht_archive) as store:
        errors = np.abs(keypoints(store.read("state")) - store.read("keypoint")).max(axis=(1, 2))

    assert np.median(errors) < 1e-4
    assert np.quantile(errors, 0.99) < 0.05
    assert errors.max() < 2.1  # pixels, in frames recorded while the block was being pushed


def test_the_published_demonstrations_with_the_options_of_the_paper(pusht_archive):
    dataset = make_dataset(pusht_archive, "image", "agent_pos", "obs", seed=42, val_ratio=0.02, max_train_episodes=90)
    with open_store(pusht_archive) as store:
        state, keypoint, ends = store.read("state"), store.read("keypoint"), store.episode_ends
    item = dataset[1]  # the first window without padding, of episode 7

    assert len(dataset) == 10726
    lengths = np.diff(ends, prepend=0)[[18, 90, 134, 157]]
    assert len(dataset.get_validation_dataset()) == (lengths - 16 + 1 + 7 + 1).sum()
    np.testing.assert_array_equal(item["obs"]["agent_pos"], state[964:966, :2])
    np.testing.assert_array_equal(item["obs"]["obs"][:, :18], keypoint[964:966].reshape(2, 18))
    drawn = render_observation(state[964]).transpose(2, 0, 1)
    assert (item["obs"]["image"][0].numpy() != drawn).mean() < 0.01
