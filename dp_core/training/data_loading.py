"""Loads batches in an order that depends on seed, epoch and position only, so that an interrupted run can continue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dp_core.border import Failure, named, naming
from dp_core.interfaces.dataset import BaseDataset, Batch
from dp_core.training.options import LoaderOptions
from dp_core.training.random_state import seed_everything

T = TypeVar("T")


class BatchOrder(Sampler[list[int]]):
    """Yields the indices of the batches of one epoch, from a position on; the last batch may be smaller.

    Every epoch has an order of its own that depends on nothing drawn before it, nor on the size of the batches. As
    positions are counted in windows, a run that continues with other batches gets every window once.

    Args:
        max_batches: of an epoch; None: all.
        drop_last: leave out a last batch that is smaller than the others.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool,
        max_batches: int | None = None,
        drop_last: bool = False,
    ) -> None:
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._end = size if max_batches is None else min(size, max_batches * batch_size)
        self._drop_last = drop_last
        self._epoch = 0
        self._start = 0

    def set_position(self, epoch: int, *, windows: int = 0) -> None:
        """Set where the next iteration begins: in ``epoch``, after ``windows`` of it."""
        self._epoch = epoch
        self._start = windows

    def batches_per_epoch(self) -> int:
        """Count the batches of a whole epoch."""
        return self._count(self._end)

    def last_batch_size(self) -> int:
        """Count the windows in the last of the remaining batches; 0 if there is none."""
        left = self._end - self._start
        return min(self._batch_size, left - (len(self) - 1) * self._batch_size) if len(self) else 0

    def seeds(self) -> Iterator[int]:
        """Yield a seed in [0, 2**64) for each of the remaining batches, for random draws while it is made."""
        for first in self._first_windows():
            key = f"{self._seed} {self._epoch} {first}".encode()
            yield int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")

    def __len__(self) -> int:
        return self._count(self._end - self._start)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._indices()
        for first in self._first_windows():
            yield order[first : min(first + self._batch_size, self._end)]

    def _first_windows(self) -> Iterable[int]:
        return range(self._start, self._start + len(self) * self._batch_size, self._batch_size)

    def _count(self, windows: int) -> int:
        rounded_up = 0 if self._drop_last else self._batch_size - 1
        return max(0, (windows + rounded_up) // self._batch_size)

    def _indices(self) -> list[int]:
        if not self._shuffle:
            return list(range(self._size))
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
        return torch.randperm(self._size, generator=generator).tolist()


def make_loader(
    dataset: BaseDataset, order: BatchOrder, options: LoaderOptions, device: torch.device | None = None
) -> DataLoader[Any]:
    """Make a loader that takes each batch from the data set in one piece.

    What a data set draws from the global generators in a process of the loader depends on the seed of ``order``, the
    epoch and the place of the batch in it, not on how many processes there are or where a run was interrupted. In the
    run's own process it comes from the run's generators, and may differ after an interruption within an epoch.

    Args:
        device: where the batches will be copied; only for a GPU is memory page-locked.
    """
    has_workers = options.num_workers > 0
    batches: Sampler[Any] = _SeededBatches(order) if has_workers else order
    return _NamingLoader(
        _SeededDataset(dataset) if has_workers else dataset,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=options.num_workers,
        pin_memory=options.pin_memory and device is not None and device.type == "cuda",
        persistent_workers=options.persistent_workers,
        # Each pass over a loader draws a seed; from the global state, that would make a resumed run differ.
        generator=torch.Generator(),
    )


class _NamingLoader(DataLoader[Any]):
    """Raises what one of its processes met as the data set's error, with the traceback of that process."""

    def __iter__(self) -> Any:
        dataset = self.dataset.wrapped if isinstance(self.dataset, _SeededDataset) else self.dataset
        with naming(dataset):
            for batch in super().__iter__():
                if isinstance(batch, Failure):
                    batch.reraise()
                yield batch


class _SeededBatches(Sampler[tuple[int, list[int]]]):
    """Yields batches and their seeds, for processes that do not know the epoch."""

    def __init__(self, order: BatchOrder) -> None:
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return zip(self._order.seeds(), self._order, strict=True)


class _SeededDataset(Dataset[Any]):
    """Makes a batch with global generators that are seeded for it."""

    def __init__(self, dataset: BaseDataset) -> None:
        self.wrapped = dataset

    def __getitems__(self, batch: tuple[int, list[int]]) -> Any:
        """Return a batch, or what went wrong: torch would pack the traceback into the text of the error."""
        seed, indices = batch
        seed_everything(seed)
        try:
            return self.wrapped.__getitems__(indices)
        except Exception as error:
            return Failure.of(named(error))


def count_windows(batch: Batch) -> int:
    """Return B, the windows in a batch, which weights its mean among those of other batches."""
    return len(batch["action"])


def map_tensors(tree: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply ``function`` to every tensor in nested dicts, and return the results in the same structure.

    What is no tensor, such as the strings of a modality, stays as it is.
    """
    if isinstance(tree, dict):
        return {key: map_tensors(value, function) for key, value in tree.items()}
    return function(tree) if isinstance(tree, torch.Tensor) else tree


def first_windows(batch: Any, count: int | None) -> Any:
    """Take the first ``count`` windows of a batch, all for None, also of what is no tensor."""
    if isinstance(batch, dict):
        return {key: first_windows(value, count) for key, value in batch.items()}
    return batch[:count]


def to_device(batch: T, device: torch.device) -> T:
    """Move the tensors of a batch to ``device``; from pinned memory, without waiting for the copy."""
    moved: T = map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))
    return moved


def on_device(batches: Iterable[T], device: torch.device, *, prefetch: bool = True) -> Iterator[T]:
    """Yield ``batches`` with their tensors on ``device``.

    Args:
        prefetch: have a GPU copy the next batch while it works on the one that was yielded. So one more is fetched than
            was yielded. A run that is interrupted there loses no window: it continues after the last batch it trained
            on. Only a data set that draws at random in the run's own process (`BaseDataset` advises against it) has
            drawn for the batch ahead by then, and draws other numbers for it when the run is resumed.
    """
    if device.type != "cuda" or not prefetch:
        for batch in batches:
            yield to_device(batch, device)
        return
    # The copy of a batch is started on a stream of its own before the batch ahead of it is yielded, so that it overlaps
    # with the step on that one.
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: list[tuple[T, torch.cuda.Event]] = []
    for batch in batches:
        # In a stream of its own, or the copy would wait for the kernels of the batch before. The event says when it is
        # done: the stream that trains waits for it on the GPU, and this thread for nothing.
        with torch.cuda.stream(stream):
            waiting.append((to_device(batch, device), stream.record_event()))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0), device)
    for copied, event in waiting:
        yield _arrived(copied, event, device)


def _arrived(batch: T, copied: torch.cuda.Event, device: torch.device) -> T:
    """Make a copied batch safe to use: kernels launched from now on wait for its copy, the program does not."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)

    def used_here(tensor: torch.Tensor) -> torch.Tensor:
        # Its memory belongs to the stream that copied: once freed by the program, it would be filled with a later batch
        # while kernels of this stream still read it.
        tensor.record_stream(current)
        return tensor

    noted: T = map_tensors(batch, used_here)
    return noted


def _as_it_is(batch: Any) -> Any:
    # The data set's `__getitems__` has made the batch already.
    return batch
