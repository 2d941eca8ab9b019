"""In which order a data set is read: batches that depend on seed, epoch and position only, so that a run can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Sampler

from dp_core.config.training import LoaderOptions
from dp_core.interfaces.dataset import BaseDataset

T = TypeVar("T")


class BatchOrder(Sampler[list[int]]):
    """Indices of the batches of one epoch, from a position on. The last batch may be smaller.

    Every epoch has an order of its own that depends on nothing drawn before it.
    """

    def __init__(self, size: int, batch_size: int, *, seed: int, shuffle: bool, max_batches: int | None = None) -> None:
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._max_batches = max_batches
        self._epoch = 0
        self._start = 0

    def set_position(self, epoch: int, start: int = 0) -> None:
        """Where the next iteration begins: in ``epoch``, after ``start`` batches."""
        self._epoch = epoch
        self._start = start

    def batches_per_epoch(self) -> int:
        """Of a whole epoch."""
        count = -(-self._size // self._batch_size)
        return count if self._max_batches is None else min(count, self._max_batches)

    def __len__(self) -> int:
        return max(0, self.batches_per_epoch() - self._start)

    def __iter__(self) -> Iterator[list[int]]:
        order = self._indices()
        for batch in range(self._start, self.batches_per_epoch()):
            yield order[batch * self._batch_size : (batch + 1) * self._batch_size]

    def _indices(self) -> list[int]:
        if not self._shuffle:
            return list(range(self._size))
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + self._epoch) % 2**63)
        return torch.randperm(self._size, generator=generator).tolist()


def make_loader(
    dataset: BaseDataset, order: BatchOrder, options: LoaderOptions, device: torch.device | None = None
) -> DataLoader[Any]:
    """A loader that takes each batch from the data set in one piece.

    Args:
        device: where the batches will be copied; only for a GPU is memory page-locked.
    """
    return DataLoader(
        dataset,
        batch_sampler=order,
        collate_fn=_as_it_is,
        num_workers=options.num_workers,
        pin_memory=options.pin_memory and device is not None and device.type == "cuda",
        persistent_workers=options.persistent_workers,
        # Each pass over a loader draws a seed; from the global state, that would make a resumed run differ.
        generator=torch.Generator(),
    )


def map_tensors(tree: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Apply ``function`` to every tensor in nested dicts."""
    if isinstance(tree, dict):
        return {key: map_tensors(value, function) for key, value in tree.items()}
    return function(tree)


def to_device(batch: T, device: torch.device) -> T:
    """Move a batch; from pinned memory without waiting."""
    moved: T = map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))
    return moved


def on_device(batches: Iterable[T], device: torch.device, *, prefetch: bool = True) -> Iterator[T]:
    """Batches, moved. With ``prefetch``, a GPU copies the next one while it works on the one that was yielded.

    So one more is fetched than was yielded. That makes no difference to a run that is interrupted there: it goes on
    after the last batch it trained on, and data sets draw nothing at random.
    """
    if device.type != "cuda" or not prefetch:
        for batch in batches:
            yield to_device(batch, device)
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: list[tuple[T, torch.cuda.Event]] = []
    for batch in batches:
        with torch.cuda.stream(stream):
            waiting.append((to_device(batch, device), stream.record_event()))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0), device)
    for copied, event in waiting:
        yield _arrived(copied, event, device)


def _arrived(batch: T, copied: torch.cuda.Event, device: torch.device) -> T:
    """A batch that may be used: kernels that are launched from now on wait for its copy, the program does not."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)

    def used_here(tensor: torch.Tensor) -> torch.Tensor:
        # Its memory belongs to the stream that copied, which would use it again while this one still reads.
        tensor.record_stream(current)
        return tensor

    noted: T = map_tensors(batch, used_here)
    return noted


def _as_it_is(batch: Any) -> Any:
    # The data set's `__getitems__` has made the batch already.
    return batch
