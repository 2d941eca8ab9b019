"""What `dp_faulty.plugin` describes: stand-ins of dp-core that work, each with one thing changed."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dp_core import hookimpl
from dp_core.interfaces import BaseCallback, BaseDataset, BaseEncoder, Generators, Workspace
from dp_core.kit.rollout.environment import Environment, Split, Start, Step
from dp_core.kit.rollout.runner import RolloutRunner
from dp_core.normalizer import LinearNormalizer
from dp_core.testing.tiny import (
    TinyDataset,
    TinyDenoiser,
    TinyEncoder,
    TinyPolicy,
    TinyRunner,
    TinyScheduler,
    TinyWorkspace,
)

# -- encoders ---------------------------------------------------------------------------------------------------------


class Plain(TinyEncoder):
    pass


class Sound(TinyEncoder):
    pass


class Sure(TinyEncoder):
    pass


class Lossy(TinyEncoder):
    pass


class Misasking(TinyEncoder):
    pass


class Unsized(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        del self.output_dim


class Wide(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return F.pad(super().forward(obs), (0, 1))


class Noisy(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return F.dropout(super().forward(obs), 0.5)


class Idle(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.unused = nn.Linear(1, 1)


class Forgetful(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.shift = torch.randn(4)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward(obs) + self.shift


class Growing(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        if not hasattr(self, "shift"):
            self.register_buffer("shift", torch.zeros(4))
        return super().forward(obs) + self.shift


class Busy(TinyEncoder):
    def __init__(self, config: Any, *, shape_meta: dict[str, Any]) -> None:
        super().__init__(config, shape_meta=shape_meta)
        self.numbers = (number for number in range(3))


class Greedy(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        obs["state"].mul_(0.5)
        return super().forward(obs)


class Mixing(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        features = super().forward(obs)
        return features - features.mean(0)


class Blind(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward({**obs, "grip": torch.zeros_like(obs["grip"])})


class Narrow(TinyEncoder):
    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return super().forward({key: value[..., :80] for key, value in obs.items()})


class Distant(TinyEncoder):
    def lr_multipliers(self) -> dict[str, float]:
        return {"backbone.weight": 0.1}


class Deaf(TinyEncoder):
    def __init__(self, config: Any) -> None:
        super().__init__(config, shape_meta={"obs": {"state": {}}})


def Function(config: Any, *, shape_meta: dict[str, Any]) -> Any:
    return TinyEncoder(config, shape_meta=shape_meta)


# -- denoisers --------------------------------------------------------------------------------------------------------


class Long(TinyDenoiser):
    def forward(self, sample: Tensor, *arguments: Any, **conditions: Any) -> Tensor:
        return F.pad(super().forward(sample, *arguments, **conditions), (0, 0, 0, 1))


class Vector(TinyDenoiser):
    def forward(self, sample: Tensor, timestep: Tensor, *conditions: Any, **named: Any) -> Tensor:
        return super().forward(sample, timestep.reshape(len(sample)), *conditions, **named)


class Misspelt(TinyDenoiser):
    def no_weight_decay(self) -> set[str]:
        return {"layer.bais"}


# -- schedulers -------------------------------------------------------------------------------------------------------


class Backwards(TinyScheduler):
    def target(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return x0 - noise


class Clipped(TinyScheduler):
    def sample(self, *arguments: Any, **named: Any) -> Tensor:
        return super().sample(*arguments, **named).clamp(-1, 1)


class Global(TinyScheduler):
    def sample(
        self, denoise: Any, shape: Any, count: Any = None, generator: Any = None, inpaint: Any = None, **named: Any
    ) -> Tensor:
        return super().sample(denoise, shape, count, None, inpaint)


class Lumping(TinyScheduler):
    def sample(
        self, denoise: Any, shape: Any, count: Any = None, generator: Any = None, inpaint: Any = None, **named: Any
    ) -> Tensor:
        torch.rand(1, generator=generator)
        return super().sample(denoise, shape, count, generator, inpaint)


class Ignorant(TinyScheduler):
    def sample(
        self, denoise: Any, shape: Any, count: Any = None, generator: Any = None, inpaint: Any = None, **named: Any
    ) -> Tensor:
        return super().sample(denoise, shape, count, generator)


# -- policies ---------------------------------------------------------------------------------------------------------


class Scaled(TinyPolicy):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        return {key: value / 1000 for key, value in super().predict_action(obs, generator).items()}


class Hoarding(TinyPolicy):
    first: dict[str, Tensor] | None = None

    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        found = super().predict_action(obs, generator)
        if self.first is None or len(self.first["action"]) != len(found["action"]):
            self.first = found
        return self.first

    def set_normalizer(self, normalizer: LinearNormalizer) -> None:
        super().set_normalizer(normalizer)
        self.first = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"first": None}


class Backward(TinyPolicy):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        return super().predict_action({key: obs[key][:, : self.config.n_obs_steps] for key in obs}, generator)


class Typed(TinyPolicy):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        scaled = {key: value / 255 if value.dtype == torch.uint8 else value for key, value in obs.items()}
        return super().predict_action(scaled, generator)


class Numb(TinyPolicy):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        return super().predict_action({key: value.nan_to_num(7) for key, value in obs.items()}, generator)


class Sharing(TinyPolicy):
    def predict_action(self, obs: dict[str, Tensor], generator: Generators = None) -> dict[str, Tensor]:
        first = generator[0] if isinstance(generator, list) else generator
        found = super().predict_action(obs, generator)
        noise = 10 * torch.randn(len(found["action"]), 1, 1, generator=first)
        return {key: value + noise for key, value in found.items()}


class Unseeded(TinyPolicy):
    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        return super().compute_loss(batch)


# -- data sets --------------------------------------------------------------------------------------------------------


class Shared(TinyDataset):
    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._chosen[index]
        return {
            "obs": {key: value[row] for key, value in self._data["obs"].items()},
            "action": self._data["action"][row],
        }


class Double(TinyDataset):
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        batch = super().__getitems__(indices)
        return {"obs": batch["obs"], "action": batch["action"].double()}


class Random(TinyDataset):
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        torch.rand(1)
        return super().__getitems__(indices)


class Unscaled(TinyDataset):
    def get_normalizer(self) -> LinearNormalizer:
        whole, normalizer = super().get_normalizer(), LinearNormalizer()
        for key in whole.keys():  # noqa: SIM118 -- it is no mapping
            if key != "grip":
                normalizer[key] = whole[key]
        return normalizer

    def get_validation_dataset(self) -> BaseDataset:
        return super().get_validation_dataset()


class Swapped(TinyDataset):
    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        return super().__getitems__(sorted(indices))


# -- runners ----------------------------------------------------------------------------------------------------------


class Nameless(TinyRunner):
    def run(self, policy: Any) -> dict[str, Any]:
        return {"score": super().run(policy)["test/mean_score"]}


class Careless(TinyRunner):
    def run(self, policy: Any) -> dict[str, Any]:
        metrics = super().run(policy)
        policy.eval()
        return metrics


class Reel(Environment):
    """Unwinds further in an episode that follows another one in the same reel."""

    def __init__(self, shape_meta: Any) -> None:
        self._shapes = {key: spec["shape"] for key, spec in shape_meta["obs"].items()}
        self._length = 0.0
        self._previous = -1

    def reset(self, start: Start) -> None:
        self._length = 0.1 if start.seed <= self._previous or self._previous < 0 else 0.2
        self._previous = start.seed
        self._action = 0.0

    def observe(self) -> dict[str, Any]:
        return {key: np.full(shape, self._action, np.float32) for key, shape in self._shapes.items()}

    def step(self, action: Any) -> Step:
        self._action = 1 / (1 + abs(float(action[0])))
        return Step(self._length)

    def render(self) -> Any:
        raise NotImplementedError


class Drifting(RolloutRunner):
    def __init__(self, config: Any, *, shape_meta: Any, output_dir: Any) -> None:
        super().__init__(
            config, title="reel", make_environment=partial(Reel, shape_meta), action_dim=2, output_dir=output_dir
        )

    def starts(self, split: Split, n_episodes: int) -> list[Start]:
        return [Start(split, seed) for seed in range(n_episodes)]


class Moody(TinyRunner):
    n_runs = 0

    def run(self, policy: Any) -> dict[str, Any]:
        self.n_runs += 1
        return super().run(policy) | {"test/mean_score": self.n_runs / 4}


class Promising(TinyRunner):
    pass


# -- optimizers and schedules -----------------------------------------------------------------------------------------


def groups(policy: nn.Module) -> list[dict[str, Any]]:
    """What is trained, each at its rate."""
    encoders = [module for module in policy.modules() if isinstance(module, BaseEncoder)]
    factors = {id(e.get_parameter(name)): factor for e in encoders for name, factor in e.lr_multipliers().items()}
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    return [{"params": [parameter], "lr": 0.1 * factors.get(id(parameter), 1)} for parameter in trained]


def thawing(config: Any, *, policy: nn.Module) -> torch.optim.Optimizer:
    frozen = [parameter for parameter in policy.parameters() if not parameter.requires_grad]
    return torch.optim.SGD([*groups(policy), {"params": frozen}], lr=0.1)


def decaying(config: Any, *, policy: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups(policy), lr=0.1, weight_decay=0.5)


def even(config: Any, *, policy: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in policy.parameters() if p.requires_grad], lr=0.1)


class Amnesiac(torch.optim.SGD):
    def __init__(self, config: Any, *, policy: nn.Module) -> None:
        super().__init__(groups(policy), lr=0.1, momentum=0.9)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"state": {}}


def rising(config: Any, *, optimizer: Any, num_training_steps: int) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, _step)


def _step(step: int) -> float:
    return float(step)


class Restarting(torch.optim.lr_scheduler.LinearLR):
    def __init__(self, config: Any, *, optimizer: Any, num_training_steps: int) -> None:
        super().__init__(optimizer, 1.0, 0.5, num_training_steps)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.param_groups[0]["lr"] = 0.1


# -- callbacks and workspaces -----------------------------------------------------------------------------------------


class Silenced(BaseCallback):
    def __init__(self, config: Any) -> None:
        self.n_epochs = 0


class Misheard(Silenced):
    @hookimpl
    def dp_after_epochs(self) -> None:
        self.n_epochs += 1


class Losing(Silenced):
    @hookimpl
    def dp_after_epoch(self) -> None:
        self.n_epochs += 1

    def state_dict(self) -> dict[str, Any]:
        return {"n_epochs": self.n_epochs}


class Breaking(Silenced):
    @hookimpl
    def dp_after_rollout(self, metrics: dict[str, Any]) -> None:
        raise KeyError("test/reward")


class Peeking(Silenced):
    @hookimpl
    def dp_after_epoch(self, workspace: Workspace) -> None:
        self.n_epochs = min(workspace.progress.epoch, workspace.num_epochs)


class Reaching(Silenced):
    @hookimpl(wrapper=True)
    def dp_run(self, workspace: Any) -> Any:
        workspace.optimizer.zero_grad()
        return (yield)


class Meddling(Silenced):
    @hookimpl
    def dp_before_run(self, workspace: Any) -> None:
        workspace.note = f"in {workspace.output_dir}"


class Misneeding(Silenced):
    @hookimpl
    def dp_after_epoch(self, workspace: Workspace) -> None:
        self.n_epochs = workspace.progress.epoch


class Unsaved(TinyWorkspace):
    def loop(self) -> None:
        self.progress.epoch = 1


class Counter:
    count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


class Stale(TinyWorkspace):
    def loop(self) -> None:
        self.counter.count = 3
        super().loop()

    def __init__(self, cfg: Any, output_dir: Any = None) -> None:
        super().__init__(cfg, output_dir)
        self.counter = Counter()


class Wordy(TinyWorkspace):
    @property
    def batch_size(self) -> Any:
        return "six" if hasattr(self, "sampling_batch") else 6


class Hollow(TinyWorkspace):
    @property
    def steps_per_epoch(self) -> int:
        return len(self.batches)  # type: ignore[attr-defined, no-any-return]


class Unstoppable(TinyWorkspace):
    def request_stop(self, reason: str) -> None:
        pass


class Misproviding(TinyWorkspace):
    pass


class Forgetting(TinyWorkspace):
    pass
