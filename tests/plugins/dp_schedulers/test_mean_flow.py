"""Average velocities: what the loss learns, and where the steps lead, for data whose flow is known."""

import math

import pytest
import torch
from torch import nn

from dp_core.errors import InputError
from dp_core.interfaces import Inpaint

SHAPE = (3, 4, 2)
SPREAD = 0.3
"""Standard deviation of data whose flow is known."""


@pytest.fixture
def build(registry):
    def build_scheduler(**options):
        return registry.build("scheduler", {"name": "mean_flow", **options})

    return build_scheduler


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def deviation(time):
    """Of x_t, where x0 is normal with SPREAD."""
    return ((1 - time) ** 2 * SPREAD**2 + time**2).sqrt()


def normal_flow(factor=1.0):
    """The average velocity of normal data: a path keeps its multiple of the standard deviation."""

    def denoise(x, time, end):
        time, end = (value.expand(len(x))[:, None, None] for value in (time, end))
        velocity = ((time - (1 - time) * SPREAD**2) / deviation(time) ** 2) * x
        length = (time - end).clamp(min=1e-6)
        average = (x - x * deviation(end) / deviation(time)) / length
        return factor * torch.where(time - end > 1e-3, average, velocity)

    return denoise


def test_the_average_velocity_of_normal_data_is_learnt(build):
    """No factor but 1 is where the loss is flat, as far as 20000 samples tell."""
    scheduler = build(interval_ratio=0.75)
    x0 = SPREAD * torch.randn(20000, 1, 1, generator=seeded())

    def slope(factor):
        factor = torch.tensor(factor, requires_grad=True)
        scheduler.loss(normal_flow(factor), x0, seeded(1)).backward()
        return factor.grad.item()

    assert abs(slope(1.0)) < 0.03
    assert slope(0.9) < -0.1
    assert slope(1.1) > 0.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_steps_leads_all_the_way(build, count):
    scheduler = build()

    sample = scheduler.sample(normal_flow(), SHAPE, count, seeded())

    torch.testing.assert_close(sample, SPREAD * torch.randn(SHAPE, generator=seeded()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_network_that_knows_the_data_has_no_loss(build, scale):
    x0 = torch.rand(SHAPE, generator=seeded()) - 0.5

    def denoise(x, time, end):
        return (x - x0) / (time / scale)[:, None, None]

    loss = build(timestep_scale=scale, interval_ratio=1.0).loss(denoise, x0, seeded(1))

    assert 0 <= loss.item() < 1e-6


def test_times_are_intervals_in_a_share_of_the_samples(build):
    scheduler, seen = build(interval_ratio=0.25, timestep_scale=10.0), []

    def denoise(x, time, end):
        seen.append((time, end))
        return 0 * x

    scheduler.loss(denoise, torch.zeros(4000, 1, 1), seeded())

    ((time, end),) = seen
    assert time.max() <= 10
    assert (end <= time).all()
    assert (end < time).float().mean().item() == pytest.approx(0.25, abs=0.03)
    median = 10 / (1 + math.exp(0.4))  # of a single draw; the later of two is later
    assert (time[end == time] > median).float().mean().item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.5])
def test_the_loss_has_the_gradient_of_the_papers_weighted_error(build, power):
    """Geng et al. 2025, "Mean Flows": the error times 1 / (error + c)**p, whose gradient stops."""
    error = torch.tensor([1e-4, 0.02, 0.5, 3.0], requires_grad=True)
    c = 1e-2
    weighted = (error / (error.detach() + c) ** power).mean()

    loss = build(adaptive_power=power, adaptive_eps=c)._weighted(error)

    expected, found = (torch.autograd.grad(value, error)[0] for value in (weighted, loss))
    torch.testing.assert_close(found, expected)
    assert loss.item() >= 0
    assert build(adaptive_power=power)._weighted(torch.zeros(2)).item() == 0


def test_known_entries_are_shown_and_cost_nothing(build):
    x0 = torch.rand(SHAPE, generator=seeded())
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    known = Inpaint(mask, torch.full(SHAPE, 7.0))
    shown = []

    def denoise(x, time, end):
        shown.append(x)
        return torch.where(mask, 1e3, 0.0) + 0 * x

    with_them = build().loss(denoise, x0, seeded(1), known)
    without = build().loss(lambda x, time, end: 0 * x, x0, seeded(1), known)

    assert (shown[0][mask] == 7).all()
    assert with_them.item() == without.item()


class Cubed(torch.autograd.Function):
    """A layer of somebody's, with a gradient and without a derivative in forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def test_a_network_that_cannot_be_differentiated_forward_is_refused(build):
    with pytest.raises(InputError) as error:
        build().loss(lambda x, time, end: Cubed.apply(x), torch.zeros(SHAPE), seeded())

    assert str(error.value) == (
        "mean_flow: the denoiser has no derivative in forward mode, which the loss needs: You must implement the jvp "
        "function for custom autograd.Function to use it with forward mode AD; choose another denoiser, or "
        "'flow_matching' for the scheduler"
    )


NETWORKS = {
    "unet1d": {"down_dims": [8, 16], "n_groups": 4, "diffusion_step_embed_dim": 8},
    "unet1d, as matrix products": {"down_dims": [320], "diffusion_step_embed_dim": 8},
    "dit1d": {"n_layer": 1, "n_head": 2, "n_emb": 8},
    "transformer": {"n_layer": 1, "n_head": 2, "n_emb": 8},
    "transformer, encoded condition": {"n_layer": 1, "n_head": 2, "n_emb": 8, "n_cond_layers": 1},
    "transformer, encoder alone": {"n_layer": 1, "n_head": 2, "n_emb": 8, "time_as_cond": False},
}


@pytest.mark.parametrize("lower", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_and_is_validated(registry, build, name, lower):
    """Also where torch would take a fused kernel, of attention or, without gradients, of a whole layer."""
    cond = None if "alone" in name else 6
    network = registry.build(
        "denoiser",
        {"name": name.partition(",")[0], **NETWORKS[name]},
        input_dim=2,
        horizon=4,
        n_obs_steps=2,
        global_cond_dim=cond,
        local_cond_dim=None,
        has_end_timestep=True,
    )
    draw = seeded()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=draw)
    given = {} if cond is None else {"global_cond": torch.randn(3, cond, generator=draw)}
    x0 = torch.rand(SHAPE, generator=draw)

    def loss():
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            return build().loss(lambda x, time, end: network(x, time, end_timestep=end, **given), x0, seeded(1))

    network.eval()
    learning = loss()
    learning.backward()
    with torch.no_grad():
        validated = loss()

    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    assert not validated.requires_grad
    assert validated.item() == pytest.approx(learning.item(), rel=0.02 if lower else 1e-5)


def test_known_times_are_prepared_once(registry, build):
    network = registry.build(
        "denoiser",
        {"name": "unet1d", **NETWORKS["unet1d"]},
        input_dim=2,
        horizon=4,
        n_obs_steps=2,
        global_cond_dim=6,
        local_cond_dim=None,
        has_end_timestep=True,
    ).eval()
    cond = torch.randn(3, 6, generator=seeded())

    class Conditioned:
        def __call__(self, x, time, end):
            return network(x, time, global_cond=cond, end_timestep=end)

    class Prepared(Conditioned):
        def prepare(self, times, end_timesteps):
            return network.prepare(times, global_cond=cond, end_timesteps=end_timesteps)

    with torch.no_grad():
        plain, prepared = (build().sample(denoise, SHAPE, 3, seeded()) for denoise in (Conditioned(), Prepared()))

    torch.testing.assert_close(plain, prepared, rtol=1e-4, atol=1e-5)
