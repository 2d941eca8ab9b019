"""The rules of modalities, and what is special about this one."""

from __future__ import annotations

import pytest
import torch
from dp_core.interfaces import modality_of
from dp_core.testing import ModalityConformance


class TestRules(ModalityConformance):
    """Storing, converting, scaling, refusing: every rule for every one of these options and shapes."""

    component = "kestrel"
    configs = ({}, {"unit": 0.1})


def test_small_numbers_are_told_apart() -> None:
    shape_meta = {"obs": {"force": {"shape": [2], "type": "kestrel", "unit": 0.01}}, "action": {"shape": [1]}}
    converted = modality_of(shape_meta, "force").convert(torch.tensor([-0.01, 100.0]))

    assert converted.tolist() == pytest.approx([-0.693, 9.21], abs=0.01)
