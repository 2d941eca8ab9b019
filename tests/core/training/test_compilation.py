"""Networks that torch.compile translated: the plain ones' results, names and random numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.config.tree import preflight
from dp_core.errors import InputError
from dp_core.interfaces import BaseEncoder, BasePolicy
from dp_core.training.compilation import compile_networks, missing_compiler
from dp_core.training.options import TrainingOptions

needs_compiler = pytest.mark.skipif(missing_compiler() is not None, reason="there is no C++ compiler")


class Jitter(BaseEncoder):
    """Adds noise in training, as an augmentation does."""

    output_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        x = obs["x"]
        return torch.tanh(self.linear(x + torch.rand_like(x) if self.training else x))


class Tiny(BasePolicy):
    """An encoder whose features are compared with the action."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Jitter()

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        return (self.encoder(batch["obs"]) - batch["action"]).square().mean()

    def predict_action(self, obs: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        return {"action": self.encoder(obs)}


class Bare(Tiny):
    """Without a network that the platform knows."""

    def __init__(self) -> None:
        BasePolicy.__init__(self)


def test_a_cpu_without_a_compiler_is_noticed_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setenv("PATH", str(tmp_path))
    problem = (
        "true needs a C++ compiler, and 'g++' is not on PATH; "
        "install it (apt install g++), name another one in CXX, or leave it out"
    )

    def found(**options: Any) -> list[str]:
        return [str(lacking) for lacking in preflight(TrainingOptions(num_epochs=1, **options), "training")]

    assert found(compile=True, device="cpu") == [f"training.compile: {problem}"]
    assert found(compile=True, device="auto") == found(compile=True, device="cuda") == found(device="cpu") == []
    with pytest.raises(InputError) as error:
        compile_networks(Tiny())
    assert str(error.value) == f"training.compile: {problem}"


def test_the_compiler_that_CXX_names_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "my-c++"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(compiler))

    assert missing_compiler() is None


@needs_compiler
def test_a_policy_without_known_networks_is_refused() -> None:
    with pytest.raises(InputError) as error:
        compile_networks(Bare())

    assert str(error.value) == (
        "training.compile: true, but Bare has no encoder or denoiser to translate; leave it out"
    )


@needs_compiler
def test_names_copies_and_pickles_stay_plain() -> None:
    policy = Tiny()
    before = list(policy.state_dict())

    compile_networks(policy)

    assert list(policy.state_dict()) == before
    assert [name for name, _ in policy.named_parameters()] == ["encoder.linear.weight", "encoder.linear.bias"]
    assert policy.encoder._compiled_call_impl is not None
    for other in (copy.deepcopy(policy), pickle.loads(pickle.dumps(policy))):
        assert other.encoder._compiled_call_impl is None


def compare(device: str, change: Callable[[Tiny], None]) -> None:
    """Loss and gradients of a changed policy with those of a plain one, in both modes, for batches of two sizes."""
    plain = Tiny().to(device)
    changed = copy.deepcopy(plain)
    change(changed)
    data = torch.Generator().manual_seed(0)
    for size, is_training in ((8, True), (5, True), (8, False)):
        batch = {
            "obs": {"x": torch.randn(size, 3, generator=data).to(device)},
            "action": torch.randn(size, 4, generator=data).to(device),
        }
        losses = []
        for policy in (plain.train(is_training), changed.train(is_training)):
            policy.zero_grad()
            torch.manual_seed(size)
            loss = policy.compute_loss(batch)
            loss.backward()
            losses.append(loss)
        torch.testing.assert_close(losses[1], losses[0])
        for ours, theirs in zip(changed.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("default")
def test_a_translated_network_gives_what_the_plain_one_gives_random_numbers_included() -> None:
    compare("cpu", compile_networks)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.filterwarnings("default")
def test_a_translated_network_gives_what_the_plain_one_gives_on_a_gpu() -> None:
    compare("cuda", compile_networks)
