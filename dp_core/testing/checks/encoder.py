"""What encoders have to do; see `BaseEncoder`."""

from __future__ import annotations

import torch

from dp_core.testing.case import Case
from dp_core.testing.checks import modules
from dp_core.testing.checks.description import it_is_built_as_its_kind_is, options_survive_a_config_file
from dp_core.testing.samples import quoted


def features_have_the_declared_size(case: Case) -> None:
    """N observations give finite features of shape (N, output_dim), float32."""
    encoder = modules.built(case)
    if not hasattr(encoder, "output_dim"):
        case.fail(
            "has no output_dim; expected the size of one feature vector",
            "set self.output_dim in the constructor to what forward returns, flattened",
        )
    for count in (1, 3):
        features = modules.output(case, encoder, modules.network_of(case).inputs(case, count))
        expected = (count, encoder.output_dim)
        if tuple(features.shape) != expected:
            case.fail(
                f"a batch of {count} gave features of shape {tuple(features.shape)}; expected {expected}, "
                "which is (N, output_dim)",
                "set self.output_dim in the constructor to what forward returns, flattened",
            )
        if features.dtype != torch.float32 or not features.isfinite().all():
            case.fail(
                f"features are {features.dtype}, finite: {bool(features.isfinite().all())}; "
                "expected finite torch.float32",
                "compute in the type of the observations, and keep clear of divisions by zero",
            )


def what_learns_at_another_rate_exists(case: Case) -> None:
    """``lr_multipliers`` names parameters of the encoder, with factors above 0."""
    encoder = modules.built(case)
    factors = encoder.lr_multipliers()
    if unknown := sorted(factors.keys() - dict(encoder.named_parameters()).keys()):
        case.fail(
            f"lr_multipliers names {quoted(unknown)}; expected names of its own parameters",
            "return names as in named_parameters()",
        )
    if idle := sorted(name for name, factor in factors.items() if not factor > 0):
        case.fail(
            f"lr_multipliers has no factor above 0 for {quoted(idle)}; expected one",
            "call requires_grad_(False) on what is not to learn",
        )


CHECKS = (
    it_is_built_as_its_kind_is,
    options_survive_a_config_file,
    features_have_the_declared_size,
    what_learns_at_another_rate_exists,
    modules.members_of_a_batch_do_not_mix,
    *modules.CHECKS,
)
