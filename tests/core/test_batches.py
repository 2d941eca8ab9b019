"""The order of the data depends on seed, epoch and position alone, and a batch is one gather."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch

from dp_core.batches import BatchOrder, make_loader, map_tensors, on_device, to_device
from dp_core.config.training import LoaderOptions
from dp_core.interfaces import BaseDataset
from dp_core.normalizer import LinearNormalizer

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


def test_an_epoch_can_be_entered_at_any_batch() -> None:
    whole, rest = order(), order()
    whole.set_position(7)
    rest.set_position(7, start=2)

    assert list(rest) == list(whole)[2:]
    assert (len(rest), rest.batches_per_epoch()) == (1, 3)


@pytest.mark.parametrize(("start", "left"), [(3, 0), (5, 0)])
def test_a_finished_epoch_has_nothing_left(start: int, left: int) -> None:
    """Also when the batches have become larger since the position was noted."""
    finished = order()
    finished.set_position(0, start=start)

    assert (len(finished), list(finished)) == (left, [])


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

    batches.set_position(3, start=1)
    found = [batch["obs"]["x"].tolist() for batch in loader]

    expected = order()
    assert first == list(expected)
    expected.set_position(3, start=1)
    assert found == list(expected)


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
