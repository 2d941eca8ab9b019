"""Regression in two steps: what each of them is given, and what it represents of two modes."""

import pytest
import torch

from dp_core.interfaces import Inpaint

SHAPE = (3, 4, 2)


@pytest.fixture
def build(registry):
    def build_scheduler(**options):
        return registry.build("scheduler", {"name": "mip", **options})

    return build_scheduler


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_loss_is_that_of_both_steps(build):
    x0 = torch.rand(SHAPE, generator=seeded())
    noise = torch.randn(SHAPE, generator=seeded(1))
    asked = []

    def denoise(x, time):
        asked.append((x, time.tolist()))
        return 0.5 * x + 0.1

    loss = build(t_star=0.8).loss(denoise, x0, seeded(1))

    late = 0.8 * x0 + 0.2 * noise
    assert [times for _, times in asked] == [[100.0] * 3, pytest.approx([20.0] * 3)]
    torch.testing.assert_close(asked[0][0], torch.zeros(SHAPE))
    torch.testing.assert_close(asked[1][0], late)
    first, second = (0.1 - x0).square().mean(), (0.5 * late + 0.1 - x0).square().mean()
    torch.testing.assert_close(loss, first + second)


@pytest.mark.parametrize(("count", "expected"), [(1, [0.3]), (2, [0.3, 0.45]), (3, [0.3, 0.45, 0.525])])
def test_each_step_is_given_a_share_of_the_last(build, count, expected):
    """The network here moves halfway from what it is given, its share undone, to 0.6."""
    asked = []

    def denoise(x, time):
        asked.append(time.item())
        return (x / 0.9 + 0.6) / 2

    sample = build().sample(denoise, SHAPE, count)

    torch.testing.assert_close(sample, torch.full(SHAPE, expected[-1]))
    assert asked == pytest.approx([100.0, *[10.0] * (count - 1)])


def test_two_modes_become_the_one_that_is_nearer_to_their_mean(build):
    """With the best network for x0 = -1 or 1, the latter of which is more frequent, as Pan et al. say of one mode."""
    share = 0.7

    def best(x, time):
        mean = torch.tensor(2 * share - 1)
        if time.item() == 100:
            return mean.expand_as(x)
        t = time / 100
        odds = torch.log(torch.tensor(share / (1 - share))) + 2 * (1 - t) * x / t**2
        return torch.tanh(odds / 2)

    first, second = (build(num_inference_steps=count).sample(best, SHAPE) for count in (1, 2))

    assert first.unique().item() == pytest.approx(0.4)  # between the modes, where nobody went
    assert second.unique().item() == pytest.approx(1.0, abs=1e-3)


def test_known_entries_are_shown_and_kept(build):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    known = Inpaint(mask, torch.full(SHAPE, 0.25))
    shown = []

    def denoise(x, time):
        shown.append(x)
        return x + 0.5

    sample = build().sample(denoise, SHAPE, inpaint=known)
    loss = build().loss(lambda x, time: torch.where(mask, 1e3, 0.0), torch.zeros(SHAPE), seeded(), known)

    assert all((x[mask] == 0.25).all() for x in [*shown, sample])
    assert loss.item() == 0
