"""An encoder that returns NaN is told from training that has diverged, and from data that hold NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dp_core.border.origin import Origin, remember
from dp_core.errors import ComponentError
from dp_diffusion.finite import FiniteFeatures

OBS = {"depth": torch.ones(4, 1, 1, 6, 6), "state": torch.ones(4, 1, 2), "task": np.full((4, 1), "push")}
ENCODER = "policy.encoder: encoder 'depth' of dp-lab 0.3 returned NaN or infinity in 1 of 4 rows"


def encoder() -> nn.Module:
    module = nn.Linear(2, 3)
    remember(module, Origin("policy.encoder", "encoder 'depth'", "dp-lab 0.3"))
    return module


def with_nan(values: Tensor) -> Tensor:
    return values.index_fill(0, torch.tensor([2]), float("nan"))


def test_an_encoder_that_returns_nan_is_named_with_what_it_was_given() -> None:
    module = encoder()
    with pytest.raises(ComponentError) as caught:
        FiniteFeatures().check(module, with_nan(torch.zeros(4, 3)), OBS)

    assert str(caught.value) == f"{ENCODER}, for finite values of 'depth' (1, 6, 6), 'state' (2,), 'task' ()"


def test_values_that_were_not_finite_are_told_apart() -> None:
    module = encoder()
    with pytest.raises(ComponentError) as caught:
        FiniteFeatures().check(module, with_nan(torch.zeros(4, 3)), OBS | {"depth": with_nan(OBS["depth"])})

    assert str(caught.value) == (
        f"{ENCODER}, for finite values of 'state' (2,), 'task' (); it was given NaN or infinity in 'depth' (1, 6, 6)"
    )


def test_it_is_not_to_blame_where_it_has_diverged_or_acts_on_what_it_may_not_see() -> None:
    check, module = FiniteFeatures().check, encoder()
    check(module.eval(), with_nan(torch.zeros(4, 3)), OBS | {"depth": with_nan(OBS["depth"])})
    nn.init.constant_(module.weight, float("inf"))
    check(module.train(), with_nan(torch.zeros(4, 3)), OBS)


def test_a_gpu_is_waited_for_once_until_it_is_renewed() -> None:
    looks = FiniteFeatures()
    first, later = encoder(), torch.zeros(4, 3, device="meta")  # whose values cannot be looked at
    looks.check(first, torch.zeros(4, 3), OBS)
    looks.check(first, later, OBS)
    looks.renew()

    with pytest.raises(RuntimeError, match="meta tensors"):
        looks.check(first, later, OBS)
