"""Windows and the choice of episodes, against the numbers of the original code."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dp_replay.sampler import SequenceSampler, create_indices, downsample_mask, get_val_mask
from dp_replay.store import open_store

N_CASES = 9


@pytest.fixture(scope="module")
def numbers(golden) -> dict[str, np.ndarray]:
    with np.load(golden("d_sampler.npz")) as file:
        return dict(file)


@pytest.fixture(scope="module")
def cases(golden) -> list[dict]:
    return json.loads(golden("d_sampler_cases.json").read_text())


def make_sampler(numbers: dict[str, np.ndarray], case: dict) -> SequenceSampler:
    mask = case["episode_mask"]
    return SequenceSampler(
        {key: torch.from_numpy(numbers[f"data/{key}"]) for key in ("obs", "action")},
        numbers["episode_ends"],
        case["horizon"],
        case["pad_before"],
        case["pad_after"],
        key_first_k=case["key_first_k"],
        episode_mask=None if mask is None else np.array(mask, dtype=bool),
    )


@pytest.mark.parametrize("number", range(N_CASES))
def test_windows_are_those_of_the_original(number, numbers, cases):
    sampler = make_sampler(numbers, cases[number])

    np.testing.assert_array_equal(sampler.indices, numbers[f"case{number}/indices"])
    assert len(sampler) == cases[number]["n"]


@pytest.mark.parametrize("number", [i for i in range(N_CASES) if i != 1])  # case 1 has no window
@pytest.mark.parametrize("key", ["obs", "action"])
def test_a_batch_of_windows_holds_the_values_of_the_original(number, key, numbers, cases):
    case = cases[number]
    expected = numbers[f"case{number}/seq_{key}"]

    batch = make_sampler(numbers, case).sample(numbers[f"case{number}/seq_idx"])

    # The original returns all steps and fills those that it did not load with NaN, or leaves them out of its read.
    n_steps = case["key_first_k"].get(key, case["horizon"])
    assert batch[key].shape == (*expected.shape[:1], n_steps, *expected.shape[2:])
    np.testing.assert_array_equal(batch[key].numpy(), expected[:, :n_steps])


def test_indices_of_two_short_episodes():
    indices = create_indices(np.array([5, 8]), 4, pad_before=1, pad_after=2)

    expected = [
        [0, 3, 1, 4], [0, 4, 0, 4], [1, 5, 0, 4], [2, 5, 0, 3], [3, 5, 0, 2],
        [5, 8, 1, 4], [5, 8, 0, 3], [6, 8, 0, 2],
    ]  # fmt: skip
    assert indices.tolist() == expected


def test_validation_masks_are_those_of_the_original(numbers):
    for name in [name for name in numbers if name.startswith("val_mask/")]:
        n_episodes, ratio, seed = (part[1:] for part in name.removeprefix("val_mask/").split("_"))
        mask = get_val_mask(int(n_episodes), float(ratio), int(seed))
        np.testing.assert_array_equal(mask, numbers[name], err_msg=name)


def test_training_masks_are_those_of_the_original(numbers):
    for name in [name for name in numbers if name.startswith("train_mask/")]:
        n_episodes, ratio, val_seed, max_n, seed = name.removeprefix("train_mask/").split("_")
        val_mask = get_val_mask(int(n_episodes[1:]), float(ratio[1:]), int(val_seed[1:]))
        limit = None if max_n == "maxNone" else int(max_n[3:])
        np.testing.assert_array_equal(downsample_mask(~val_mask, limit, int(seed[1:])), numbers[name], err_msg=name)


def test_windows_repeat_the_border_of_their_episode_and_never_cross_it():
    ends = np.array([3, 7])
    data = {"step": torch.arange(7)}

    sampler = SequenceSampler(data, ends, 4, pad_before=3, pad_after=3)

    assert sampler.sample(range(6))["step"].tolist() == [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 1, 2],
        [0, 1, 2, 2],
        [1, 2, 2, 2],
        [2, 2, 2, 2],
    ]
    assert sampler.sample([len(sampler) - 1])["step"].tolist() == [[6, 6, 6, 6]]


def test_the_published_demonstrations_give_the_windows_of_the_paper(pusht_archive, golden):
    expected = json.loads(golden("d_sampler_pusht_real.json").read_text())
    with open_store(pusht_archive) as store:
        ends = store.episode_ends
    val_mask = get_val_mask(len(ends), expected["val_ratio"], expected["seed"])
    train_mask = downsample_mask(~val_mask, expected["max_train_episodes"], expected["seed"])
    indices = create_indices(ends, expected["horizon"], train_mask, expected["pad_before"], expected["pad_after"])

    assert ends[:10].tolist() == expected["episode_ends_first10"]
    assert np.flatnonzero(val_mask).tolist() == expected["val_episodes_by_val_mask"]
    assert np.flatnonzero(train_mask).tolist() == expected["train_episodes"]
    assert len(indices) == expected["train_len"]
    assert indices[:3].tolist() == expected["indices_first3"]
    assert indices[-3:].tolist() == expected["indices_last3"]
    assert indices.sum() == expected["indices_int64_sum"]
