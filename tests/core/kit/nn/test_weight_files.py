"""Weights of other projects: read without running anything, and refused where they do not fit."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from dp_core.errors import DpError
from dp_core.kit.nn.weight_files import load_weights, read_weights


class Malicious:
    """Would run a command when unpickled."""

    def __reduce__(self):
        return os.system, ("touch opened",)


def test_weights_are_read_and_copied(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save({"weights": source.state_dict(), "step": 3}, tmp_path / "file")

    content = read_weights(tmp_path / "file")
    load_weights(target, content["weights"], tmp_path / "file")

    assert content["step"] == 3
    assert torch.equal(target.weight, source.weight)


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Malicious()}, tmp_path / "file")

    with pytest.raises(DpError, match="is not a file of weights, or not a whole one"):
        read_weights(tmp_path / "file")

    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("content", [b"", b"<html>Please log in</html>"])
def test_something_else_is_said(tmp_path, content):
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(DpError) as caught:
        read_weights(tmp_path / "file")

    assert str(caught.value).startswith(f"{tmp_path / 'file'}: is not a file of weights, or not a whole one (")
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(DpError) as caught:
        read_weights(tmp_path / "none.pt")

    assert str(caught.value) == f"{tmp_path / 'none.pt'}: file does not exist"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "holds no 'bias'; 1 of the 2 weights expected are absent"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "scale": torch.zeros(1)},
            "'scale' does not belong to the network; 1 weights do not",
        ),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, "'weight' is [2, 4]; expected [2, 3]"),
        ({"weight": torch.zeros(2, 3), "bias": 3}, "'bias' is 3; expected a tensor"),
    ],
)
def test_weights_of_another_network_are_said(tmp_path, weights, message):
    with pytest.raises(DpError) as caught:
        load_weights(nn.Linear(3, 2), weights, tmp_path)

    assert str(caught.value) == f"{tmp_path}: {message}"
