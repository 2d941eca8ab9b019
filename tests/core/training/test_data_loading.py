"""The order of the data depends on seed, epoch and position alone, and a batch is one gather."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch

from dp_core.interfaces import BaseDataset
from dp_core.normalizer import LinearNormalizer
from dp_core.training.data_loading import BatchOrder, make_loader, map_tensors, on_device, to_device
from dp_core.training.options import LoaderOptions

without_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


class Numbers(BaseDataset):
    """Item i is the number i; counts how often a batch was gathered."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.gathered = 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"obs": {"x": torch.tensor(index)}}

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        self.gathered += 1
        return {"obs": {"x": torch.tensor(indices)}}

    def get_normalizer(self) -> LinearNormalizer:
        raise NotImplementedError

    def get_validation_dataset(self) -> BaseDataset:
        raise NotImplementedError


def order(size: int = 10, batch_size: int = 4, seed: int = 1, **options: Any) -> BatchOrder:
    return BatchOrder(size, batch_size, seed=seed, **{"shuffle": True} | options)


def test_an_epoch_has_every_item_once_and_a_smaller_last_batch() -> None:
    batches = list(order())

    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(chain(*batches)) == list(range(10))


def test_unshuffled_is_in_order() -> None:
    assert list(order(5, 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, second, other = order(100, 100), order(100, 100), order(100, 100, seed=2)
    second.set_position(1)

    assert len({tuple(next(iter(each))) for each in (first, second, other)}) == 3


def test_an_order_is_independent_of_everything_drawn_before() -> None:
    torch.manual_seed(0)
    expected = list(order())
    torch.rand(3)

    assert list(order()) == expected


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"max_batches": 2}])
def test_an_epoch_can_be_entered_at_any_batch(options: dict[str, Any]) -> None:
    whole, rest = order(**options), order(**options)
    whole.set_position(7)
    rest.set_position(7, windows=4)

    assert list(rest) == list(whole)[1:]
    assert (len(rest), rest.batches_per_epoch()) == (len(whole) - 1, len(whole))


@pytest.mark.parametrize("size", [1, 10, 997, 1000])
@pytest.mark.parametrize(("former", "now"), [(4, 8), (8, 4), (512, 488), (7, 1000)])
def test_an_epoch_that_goes_on_with_other_batches_has_every_item_once(size: int, former: int, now: int) -> None:
    first, rest = order(size, former), order(size, now)
    seen = next(iter(first))
    rest.set_position(0, windows=len(seen))

    assert sorted([*seen, *chain(*rest)]) == list(range(size))
    assert len(rest) == len(list(rest)) == -(-(size - len(seen)) // now)


@pytest.mark.parametrize("windows", [10, 99])
def test_a_finished_epoch_has_nothing_left(windows: int) -> None:
    """Also if it was longer then: a limit of batches was another number of windows."""
    finished = order()
    finished.set_position(0, windows=windows)

    assert (len(finished), list(finished), finished.last_batch_size()) == (0, [], 0)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [4, 4, 1]),
        ({"drop_last": True}, [4, 4]),
        ({"size": 8, "drop_last": True}, [4, 4]),
        ({"size": 3, "drop_last": True}, []),
        ({"max_batches": 2}, [4, 4]),
        ({"size": 7, "max_batches": 2}, [4, 3]),
        ({"batch_size": 1, "size": 2}, [1, 1]),
    ],
)
def test_the_last_batch_is_known_beforehand(options: dict[str, Any], sizes: list[int]) -> None:
    batches = order(**{"size": 9} | options)

    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == batches.batches_per_epoch() == len(sizes)
    assert batches.last_batch_size() == (sizes[-1] if sizes else 0)


def test_the_number_of_batches_can_be_limited() -> None:
    limited = order(max_batches=2)

    assert (len(limited), len(list(limited))) == (2, 2)
    assert order(max_batches=99).batches_per_epoch() == 3


def test_any_seed_will_do() -> None:
    assert sorted(chain(*order(seed=2**63))) == list(range(10))


def test_a_batch_is_one_gather_and_comes_as_it_is() -> None:
    dataset, batches = Numbers(10), order(shuffle=False)

    found = [batch["obs"]["x"].tolist() for batch in make_loader(dataset, batches, LoaderOptions())]

    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert dataset.gathered == 3


def test_loading_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()

    list(make_loader(Numbers(10), order(), LoaderOptions()))

    assert torch.equal(torch.get_rng_state(), before)


def test_processes_that_persist_follow_the_position() -> None:
    batches = order()
    loader = make_loader(Numbers(10), batches, LoaderOptions(num_workers=1, persistent_workers=True))
    first = [batch["obs"]["x"].tolist() for batch in loader]

    batches.set_position(3, windows=4)
    found = [batch["obs"]["x"].tolist() for batch in loader]

    expected = order()
    assert first == list(expected)
    expected.set_position(3, windows=4)
    assert found == list(expected)


class Draws(Numbers):
    """Its batches are what the three global generators give."""

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return {"obs": {"x": torch.tensor([*torch.rand(1), np.random.rand(), random.random()])}}


def drawn(epoch: int = 0, windows: int = 0, seed: int = 1, **options: Any) -> list[list[float]]:
    batches = order(seed=seed)
    batches.set_position(epoch, windows=windows)
    loader = make_loader(Draws(10), batches, LoaderOptions(**{"num_workers": 1} | options))
    return [batch["obs"]["x"].tolist() for batch in loader]


def test_draws_in_a_loaders_process_are_other_ones_for_every_seed_epoch_and_batch() -> None:
    found = [*drawn(), *drawn(epoch=1), *drawn(seed=2)]

    assert len({number for batch in found for number in batch}) == 3 * 9


def test_draws_in_a_loaders_process_depend_on_nothing_else() -> None:
    """Neither on how many there are, nor on where the run was interrupted."""
    expected = drawn(epoch=3)

    assert drawn(epoch=3, num_workers=2) == expected
    assert drawn(epoch=3, windows=4) == expected[1:]


def test_processes_that_persist_draw_what_new_ones_do() -> None:
    batches = order()
    loader = make_loader(Draws(10), batches, LoaderOptions(num_workers=2, persistent_workers=True))
    found = []
    for epoch in range(2):
        batches.set_position(epoch)
        found.append([batch["obs"]["x"].tolist() for batch in loader])

    assert found == [drawn(epoch=0), drawn(epoch=1)]


def test_every_tensor_of_a_batch_is_mapped() -> None:
    batch = {"obs": {"x": torch.ones(2), "y": torch.ones(1)}, "action": torch.zeros(3)}

    doubled = map_tensors(batch, lambda tensor: tensor * 2)

    assert doubled["obs"]["x"].tolist() == [2, 2]
    assert to_device(batch, torch.device("cpu")).keys() == batch.keys()


@pytest.mark.parametrize("prefetch", [True, False])
def test_a_cpu_gets_its_batches_one_by_one(prefetch: bool) -> None:
    dataset = Numbers(10)
    loader = make_loader(dataset, order(shuffle=False), LoaderOptions(), torch.device("cpu"))

    fetched = [dataset.gathered for _ in on_device(loader, torch.device("cpu"), prefetch=prefetch)]

    assert fetched == [1, 2, 3]
    assert not loader.pin_memory


@pytest.mark.gpu
@without_gpu
@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("pin_memory", [True, False])
def test_a_gpu_gets_the_same_batches_however_they_are_copied(prefetch: bool, pin_memory: bool) -> None:
    """Also while it is busy, so that copies wait for it, and memory is freed that it still reads."""
    device, options = torch.device("cuda"), LoaderOptions(pin_memory=pin_memory)
    loader = make_loader(Numbers(2**20), order(2**20, 2**15), options, device)
    matrix = torch.ones(2048, 2048, device=device)
    sums = []
    for batch in on_device(loader, device, prefetch=prefetch):
        for _ in range(20):
            matrix = matrix @ matrix / 2048
        sums.append(batch["obs"]["x"].sum())

    expected = [sum(indices) for indices in order(2**20, 2**15)]
    assert torch.stack(sums).tolist() == expected


@pytest.mark.gpu
@without_gpu
@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_gpu_gets_the_next_batch_early_and_every_batch_once(size: int) -> None:
    dataset, device = Numbers(size), torch.device("cuda")
    loader = make_loader(dataset, order(size, 1, shuffle=False), LoaderOptions(), device)

    found = [(batch["obs"]["x"].item(), dataset.gathered) for batch in on_device(loader, device)]

    assert found == [(index, min(index + 2, size)) for index in range(size)]
    assert loader.pin_memory
