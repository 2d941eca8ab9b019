"""The rules of callbacks, and what is special about this one."""

from __future__ import annotations

from dp_core.registry import Registry
from dp_core.testing import CallbackConformance


class TestRules(CallbackConformance):
    """Hooks, whole and resumed runs, saving: every rule for every one of these options."""

    component = "kestrel"
    configs = ({}, {"metric": "val_loss"})


def test_it_remembers_the_lowest_across_a_resume() -> None:
    registry = Registry.discover()
    callback = registry.build("callback", {"name": "kestrel"})
    for epoch, loss in enumerate([0.5, 0.25, 0.75]):
        callback.dp_after_epoch(metrics={"train_loss": loss, "epoch": epoch})
    resumed = registry.build("callback", {"name": "kestrel"})
    resumed.load_state_dict(callback.state_dict())
    resumed.dp_after_epoch(metrics={"train_loss": 0.375, "epoch": 3})

    assert resumed.summary() == ["lowest train_loss: 0.2500, in epoch 1"]
