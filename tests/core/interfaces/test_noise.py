"""Noise of a batch whose rows have generators of their own."""

from __future__ import annotations

import pytest
import torch

from dp_core.errors import InputError
from dp_core.interfaces import draw_noise

SHAPE = (4, 16, 2)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("shape", [SHAPE, (4, 3, 1)], ids=["vectorised", "fewer than 16 values"])
def test_a_row_is_what_its_generator_gives_a_batch_of_one(shape: tuple[int, ...]) -> None:
    together, alone = generators(3, 1, 4, 1), generators(3, 1, 4, 1)

    for _ in range(2):
        noise = draw_noise(shape, together)
        expected = [torch.randn((1, *shape[1:]), generator=own) for own in alone]
        assert torch.equal(noise, torch.cat(expected))
    assert torch.equal(noise[1], noise[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_generator_draws_for_the_batch_as_torch_does(dtype: torch.dtype) -> None:
    (ours,), (torchs,) = generators(5), generators(5)

    assert torch.equal(draw_noise(SHAPE, ours, dtype=dtype), torch.randn(SHAPE, generator=torchs, dtype=dtype))
    torch.manual_seed(5)
    assert torch.equal(draw_noise(SHAPE), torch.randn(SHAPE, generator=torch.Generator().manual_seed(5)))


def test_too_few_generators_are_reported() -> None:
    with pytest.raises(InputError) as caught:
        draw_noise(SHAPE, generators(1, 2))

    assert str(caught.value) == (
        "generator: a sequence of 2 for a batch of 4; give one for each row, or a single torch.Generator for all"
    )
