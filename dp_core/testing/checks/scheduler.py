"""The rules of schedulers, see `BaseScheduler`."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from dp_core.errors import quoted
from dp_core.interfaces import BaseScheduler, Inpaint
from dp_core.testing.case import Case
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.checks.modules import DRAW_ROWS, pickled
from dp_core.testing.samples import generator, seeded

SHAPE = (3, 8, 2)
"""The shape (B, T, D) of the samples."""
_CLOSE = 0.1
"""How near sampling has to come to the answer, in normalised units."""

_FAR = 10.0
"""Normalised data that most samplers which clip cut off."""


def times_are_one_for_each_member(case: Case) -> None:
    """Check that `sample_timesteps` draws (B,) times, from the generator alone."""
    scheduler = case.build()
    drawn = []
    for seed in (0, 1):
        with seeded(seed):
            drawn.append(scheduler.sample_timesteps(SHAPE[0], torch.device("cpu"), generator()))
    if tuple(drawn[0].shape) != SHAPE[:1]:
        case.fail(f"times have shape {tuple(drawn[0].shape)}; expected {SHAPE[:1]}", "draw one for each member")
    if not torch.equal(*drawn):
        case.fail(
            "with the same generator, times differed; expected the same",
            "pass it: torch.rand(..., generator=generator)",
        )


def noise_and_target_have_the_shape_of_the_data(case: Case) -> None:
    """Check that `add_noise` and `target` return finite (B, T, D), and change nothing that they are given."""
    scheduler, (x0, noise, times) = case.build(), _training_inputs(case.build())
    for name in ("add_noise", "target"):
        given = [tensor.clone() for tensor in (x0, noise, times)]
        made = getattr(scheduler, name)(*given)
        if tuple(made.shape) != SHAPE or made.dtype != torch.float32 or not made.isfinite().all():
            case.fail(
                f"{name} returned shape {tuple(made.shape)}, {made.dtype}, finite: {bool(made.isfinite().all())}; "
                f"expected {SHAPE}, torch.float32, finite",
                "give what depends on the time the shape (B, 1, 1)",
            )
        if not all(torch.equal(*pair) for pair in zip(given, (x0, noise, times), strict=True)):
            case.fail(f"{name} changed what it was given; expected it left as it is", "make new tensors")


def the_loss_is_a_scalar(case: Case) -> None:
    """Check that `loss` is a finite scalar that the network learns from, and draws from the generator alone."""
    scheduler, (x0, _, _) = case.build(), _training_inputs(case.build())
    weight = torch.tensor(0.1, requires_grad=True)
    losses = []
    for seed in (0, 1):
        with seeded(seed):
            losses.append(scheduler.loss(lambda sample, timestep, *end: weight * sample, x0, generator()))
    shape, is_finite, learns = tuple(losses[0].shape), bool(losses[0].isfinite().all()), losses[0].requires_grad
    if shape or not is_finite or not learns:
        case.fail(
            f"loss returned shape {shape}, finite: {is_finite}, with a gradient: {learns}; "
            "expected a finite scalar with a gradient",
            "return a mean over the batch, and detach nothing but targets",
        )
    if not torch.equal(losses[0].detach(), losses[1].detach()):
        case.fail(
            "with the same generator, losses differed; expected the same",
            "pass it to everything that draws: torch.randn(..., generator=generator)",
        )


def samples_have_the_shape_asked_for(case: Case) -> None:
    """Check that `sample` returns finite (B, T, D) for any number of steps, and asks about samples of that shape."""
    scheduler = case.build()
    for count in (None, 1, 3):
        asked: list[tuple[int, ...]] = []

        def denoise(sample: Tensor, timestep: Tensor, *end: Tensor, asked: list[tuple[int, ...]] = asked) -> Tensor:
            asked.append((*sample.shape, *{timestep.ndim, *(time.ndim for time in end)}))
            return torch.zeros_like(sample)

        made = scheduler.sample(denoise, SHAPE, count, generator())
        if tuple(made.shape) != SHAPE or made.dtype != torch.float32 or not made.isfinite().all():
            case.fail(
                f"with {count or 'the usual number of'} steps, sample returned shape {tuple(made.shape)}, "
                f"{made.dtype}, finite: {bool(made.isfinite().all())}; expected {SHAPE}, torch.float32, finite",
                "keep shape and type of the noise that sampling starts from",
            )
        if set(asked) != {(*SHAPE, 0)}:
            case.fail(
                f"the network was asked about {sorted(set(asked)) or 'nothing'} (shape of the sample, dimensions of "
                f"the time); expected {(*SHAPE, 0)}",
                "call denoise(sample (B, T, D), timestep ()) at every step",
            )


def sampling_draws_from_the_generator_alone(case: Case) -> None:
    """Check that, with a generator, `sample` draws nothing from the global state, so that evaluations compare."""
    scheduler = case.build()
    made = []
    for seed in (0, 1):
        with seeded(seed):
            made.append(scheduler.sample(lambda sample, timestep, *end: 0.1 * sample, SHAPE, None, generator()))
    if not torch.equal(*made):
        case.fail(
            "with the same generator, samples differed; expected the same",
            "pass it to everything that draws: torch.randn(..., generator=generator)",
        )


def rows_draw_from_generators_of_their_own(case: Case) -> None:
    """Check that `sample` gives a row with a generator of its own what it gives it alone, as evaluations need."""
    scheduler = case.build()

    def sampled(count: int, generators: Any) -> Tensor:
        with seeded():
            made: Tensor = scheduler.sample(
                lambda sample, time, *end: 0.1 * sample, (count, *SHAPE[1:]), None, generators
            )
        return made

    try:
        together = sampled(SHAPE[0], [generator(row) for row in range(SHAPE[0])])
    except TypeError:
        case.fail("given a generator for each row, sample raised a TypeError; expected samples", DRAW_ROWS)
    alone = torch.cat([sampled(1, generator(row)) for row in range(SHAPE[0])])
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5):
        case.fail("given a generator for each row, rows are other samples than alone; expected the same", DRAW_ROWS)


def known_entries_are_kept(case: Case) -> None:
    """Check that what is known of a trajectory is exact in the sample, and is what the network sees of it."""
    scheduler = case.build()
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    values = torch.full(SHAPE, 0.25)
    known = Inpaint(mask, values.clone())
    made = scheduler.sample(lambda sample, timestep, *end: 0.1 * sample, SHAPE, None, generator(), known)
    if not torch.equal(known.values, values):
        case.fail(
            "sample changed the known values that it was given; expected them left as they are", "make new tensors"
        )
    wrong = (made - values)[mask].abs().max()
    if wrong:
        case.fail(
            f"known entries are off by up to {wrong:.3g}; expected them exact",
            "write torch.where(inpaint.mask, inpaint.values, sample) before every step and at the end",
        )


def the_right_network_leads_to_the_data(case: Case) -> None:
    """Check that sampling with a network that predicts the `target` of one trajectory arrives at that trajectory."""
    scheduler, x0 = case.build(), _training_inputs(case.build())[0]
    error = float((_sampled_by_the_right_network(scheduler, x0) - x0).abs().max())
    if not error <= _CLOSE:
        case.fail(
            f"with a network that predicts the target exactly, samples are off by {error:.3g}; "
            f"expected at most {_CLOSE}",
            "let sample undo what add_noise does and read predictions as target makes them",
        )


def the_largest_sample_is_known(case: Case) -> None:
    """Check that data far out are reached, except as far as `largest_sample` says that they are not."""
    scheduler = case.build()
    limit = scheduler.largest_sample
    expected = _FAR if limit is None else min(limit, _FAR)
    found = float(_sampled_by_the_right_network(scheduler, torch.full(SHAPE, _FAR)).abs().max())
    if not abs(found - expected) <= _CLOSE * expected:
        case.fail(
            f"with a network that predicts the target of {_FAR:g} exactly, samples reach {found:.3g}, and "
            f"largest_sample is {limit}; expected {expected:g}",
            "let the property largest_sample return what samples are clipped to, or None",
        )


def it_can_be_pickled(case: Case) -> None:
    """Check that what is unpickled, by worker processes and from snapshots, samples the same."""
    scheduler = case.build()
    made = []
    for each in (scheduler, pickled(case, scheduler)):
        with seeded():
            made.append(each.sample(lambda sample, timestep, *end: 0.1 * sample, SHAPE, None, generator()))
    if not torch.equal(*made):
        case.fail("what was pickled sampled otherwise; expected the same", "leave nothing out in __getstate__")


def the_noise_process_names_options(case: Case) -> None:
    """Check that, if the config class states its noise process, what it names are its options."""
    process = getattr(case.component.config, "process", None)
    names = () if process is None else (*process.options, *process.data_options)
    if unknown := sorted(set(names) - attrs.fields_dict(case.component.config).keys()):
        case.fail(
            f"process names {quoted(unknown)}; expected options of {case.component.config.__name__}",
            "correct their spelling in NoiseProcess(...)",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    times_are_one_for_each_member,
    noise_and_target_have_the_shape_of_the_data,
    the_loss_is_a_scalar,
    samples_have_the_shape_asked_for,
    sampling_draws_from_the_generator_alone,
    rows_draw_from_generators_of_their_own,
    known_entries_are_kept,
    the_right_network_leads_to_the_data,
    the_largest_sample_is_known,
    it_can_be_pickled,
    the_noise_process_names_options,
)


def _training_inputs(scheduler: BaseScheduler) -> tuple[Any, Any, Any]:
    """Data in [-0.5, 0.5], noise and times."""
    draw = generator(1)
    x0 = torch.rand(SHAPE, generator=draw) - 0.5
    noise = torch.randn(SHAPE, generator=draw)
    return x0, noise, scheduler.sample_timesteps(SHAPE[0], torch.device("cpu"), draw)


def _sampled_by_the_right_network(scheduler: Any, x0: Tensor) -> Tensor:
    """Sample with a network that knows that the data are ``x0`` (B, T, D)."""

    def denoise(sample: Tensor, timestep: Tensor, *end: Tensor) -> Tensor:
        times = timestep.expand(SHAPE[0])
        ones, zeros = torch.ones(SHAPE), torch.zeros(SHAPE)
        signal, sigma = scheduler.add_noise(ones, zeros, times), scheduler.add_noise(zeros, ones, times)
        noise = torch.where(sigma > 1e-6, (sample - signal * x0) / sigma, zeros)
        return scheduler.target(x0, noise, times)  # type: ignore[no-any-return]

    made: Tensor = scheduler.sample(denoise, SHAPE, None, generator())
    return made
