"""Means of the loop are means over windows, whatever the batches; the average acts as the model does."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dp_core.discovery.hook_manager import HookManager, run_hooks
from dp_core.hooks import RunHooks, hookimpl
from dp_core.interfaces import BaseDataset, BasePolicy
from dp_core.normalizer import LinearNormalizer
from dp_core.training.data_loading import BatchOrder, count_windows, make_loader
from dp_core.training.ema import EMAModel
from dp_core.training.interrupts import Interrupts
from dp_core.training.loop import train_epoch, validation_loss
from dp_core.training.options import LoaderOptions, TrainingOptions
from dp_core.training.progress import Progress

CPU = torch.device("cpu")
SIZE = 10


class Windows(BaseDataset):
    """Ten windows of one step; what is to be predicted grows fast, so that every window has another loss."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise NotImplementedError

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        features = 3 + 2 * torch.randn(SIZE, 1, 4, generator=generator)
        return {"obs": {"x": features[indices]}, "action": torch.arange(SIZE).square().float()[indices, None, None]}

    def get_normalizer(self) -> LinearNormalizer:
        raise NotImplementedError

    def get_validation_dataset(self) -> BaseDataset:
        raise NotImplementedError


class Regression(BasePolicy):
    """A line, or one behind batch normalisation. Its loss has no noise."""

    def __init__(self, *, has_batch_norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        norm: nn.Module = nn.BatchNorm1d(4) if has_batch_norm else nn.Identity()
        self.layers = nn.Sequential(norm, nn.Linear(4, 1))

    def compute_loss(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> Tensor:
        return (self.layers(batch["obs"]["x"][:, 0]) - batch["action"][:, 0]).square().mean()

    def predict_action(self, obs: dict[str, Tensor], generator: torch.Generator | None = None) -> dict[str, Tensor]:
        raise NotImplementedError


def a_run(batch_size: int, gradient_accumulate_every: int = 1, **parts: Any) -> Any:
    """What `train_epoch` works on."""
    options = TrainingOptions(num_epochs=1, gradient_accumulate_every=gradient_accumulate_every)
    model = parts.pop("model", None) or Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    order = BatchOrder(SIZE, batch_size, seed=0, shuffle=False)
    return SimpleNamespace(
        options=options,
        device=CPU,
        model=model,
        optimizer=optimizer,
        lr_schedule=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
        ema=parts.get("ema"),
        progress=Progress(),
        hooks=HookManager(RunHooks).hook,
        order=order,
        loader=make_loader(Windows(), order, LoaderOptions(batch_size=batch_size)),
    )


def loss_of(model: BasePolicy, batch_size: int = SIZE) -> float:
    order = BatchOrder(SIZE, batch_size, seed=0, shuffle=False)
    with torch.no_grad():
        return validation_loss(
            model.eval(), make_loader(Windows(), order, LoaderOptions()), CPU, TrainingOptions(num_epochs=1)
        )


@pytest.mark.parametrize("batch_size", [1, 3, 4, 9])
def test_validation_loss_is_that_of_one_batch_of_all_windows(batch_size: int) -> None:
    assert loss_of(Regression(), batch_size) == pytest.approx(loss_of(Regression()), rel=1e-6)


@pytest.mark.parametrize(("batch_size", "accumulated"), [(4, 3), (9, 2), (3, 99), (1, 10)])
def test_accumulated_gradients_are_those_of_one_batch_of_all_their_windows(batch_size: int, accumulated: int) -> None:
    whole, parts = a_run(SIZE), a_run(batch_size, accumulated)

    for run in (whole, parts):
        train_epoch(run, Interrupts())

    assert whole.progress.updates == parts.progress.updates == 1
    expected, found = (run.model.state_dict() for run in (whole, parts))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7)


def test_a_smaller_group_at_the_end_of_an_epoch_is_one_batch_of_its_windows() -> None:
    """Ten windows in batches of 2, two by two: 4, 4 and 2 windows an update, as in batches of 4."""
    whole, parts = a_run(4), a_run(2, 2)

    for run in (whole, parts):
        train_epoch(run, Interrupts())

    expected, found = (run.model.state_dict() for run in (whole, parts))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("batch_size", "accumulated"), [(SIZE, 1), (9, 2), (3, 99)])
def test_the_loss_of_an_epoch_is_the_mean_over_its_windows(batch_size: int, accumulated: int) -> None:
    run = a_run(batch_size, accumulated)
    expected = loss_of(run.model)

    train_epoch(run, Interrupts())

    assert run.progress.mean_loss() == pytest.approx(expected, rel=1e-6)
    assert run.progress.windows_in_epoch == SIZE


def test_what_wraps_the_module_sees_every_batch() -> None:
    """As DistributedDataParallel does: the loop calls the module, in training and in validation."""
    run, seen = a_run(4), []
    run.model.register_forward_hook(lambda _, arguments, loss: seen.append(count_windows(arguments[0])))

    train_epoch(run, Interrupts())
    loss_of(run.model, 7)

    assert seen == [4, 4, 2, 7, 3]


def test_a_step_is_announced_when_all_of_its_update_is_counted() -> None:
    """A callback that raises then leaves nothing half done."""
    run, heard = a_run(4, 3), []

    class Listener:
        @hookimpl
        def dp_after_train_step(self, workspace: Any, metrics: dict[str, Any]) -> None:
            heard.append((metrics["global_step"], workspace.progress.global_step, workspace.progress.updates))

    run.hooks = run_hooks({"listener": Listener()}, run)
    train_epoch(run, Interrupts())

    assert heard == [(0, 3, 1), (1, 3, 1), (2, 3, 1)]


def after_training(buffers: str) -> tuple[float, float]:
    """Validation loss of a model with batch normalisation, and of its average."""
    model = Regression(has_batch_norm=True)
    ema = EMAModel(copy.deepcopy(model), buffers=buffers)
    run = a_run(5, model=model, ema=ema)
    for epoch in range(20):
        run.progress.epoch = epoch
        run.progress.restart_epoch()
        train_epoch(run, Interrupts())
    return loss_of(model), loss_of(ema.averaged_model)


def test_the_average_of_a_policy_with_batch_normalisation_validates_as_the_policy_does() -> None:
    of_model, of_average = after_training("copy")

    assert of_average == pytest.approx(of_model, rel=0.05)


def test_an_average_that_keeps_its_first_statistics_does_not() -> None:
    """What the original does."""
    of_model, of_average = after_training("keep")

    assert of_average != pytest.approx(of_model, rel=0.05)


def test_progress_is_what_its_state_says() -> None:
    progress = Progress(dataset_size=8, updates_in_run=3)
    progress.advance(torch.tensor(2.0), 4)
    progress.updates += 1

    restored = Progress()
    restored.load_state_dict(progress.state_dict())

    assert restored.state_dict() == progress.state_dict()
    assert restored.mean_loss() == 2.0
