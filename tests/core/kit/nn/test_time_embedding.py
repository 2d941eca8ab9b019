"""How the time of the noise process is embedded."""

import numpy as np
import torch

from dp_core.kit.nn.time_embedding import SinusoidalPosEmb


def test_times_are_embedded_by_sines_then_cosines():
    embedded = SinusoidalPosEmb(4)(torch.tensor([0, 2]))

    expected = torch.tensor([[0, 0, 1, 1], [np.sin(2), np.sin(2e-4), np.cos(2), np.cos(2e-4)]])
    torch.testing.assert_close(embedded, expected.float())


def test_times_of_low_precision_are_embedded_in_full_precision():
    assert SinusoidalPosEmb(4)(torch.tensor([0.5], dtype=torch.bfloat16)).dtype == torch.float32
