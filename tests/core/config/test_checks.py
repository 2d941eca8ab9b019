"""Rules about the parts of a run together: callbacks, and what the workspace has for them."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest

from dp_core import Component
from dp_core.config import structure_block, structure_run
from dp_core.config.checks import needed_inputs, untaken_inputs
from dp_core.config.schema import WorkspaceConfig
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError, PluginError
from dp_core.registry import Registry


@attrs.frozen(kw_only=True)
class Silent(WorkspaceConfig):
    """As the documentation had it before there was anything to declare."""


@attrs.frozen(kw_only=True)
class Generous(WorkspaceConfig):
    provides: ClassVar[tuple[str, ...]] = ("progress", "num_epochs")


@attrs.frozen(kw_only=True)
class More(Generous):
    """Inherits what it provides."""


@attrs.frozen(kw_only=True)
class Misspelt(WorkspaceConfig):
    provides: ClassVar[tuple[str, ...]] = ("progres",)


@attrs.frozen(kw_only=True)
class Content:
    pass


@attrs.frozen(kw_only=True)
class Needy:
    needs: ClassVar[tuple[str, ...]] = ("progress", "num_epochs")


@attrs.frozen(kw_only=True)
class Odd:
    needs: ClassVar[tuple[str, ...]] = ("optimizer",)


@attrs.frozen(kw_only=True)
class Careless:
    needs: ClassVar[Any] = ("progress")  # fmt: skip


@attrs.frozen(kw_only=True)
class Leaping:
    """A scheduler of steps from one time to another, and of something that nobody has heard of."""

    needs: ClassVar[tuple[str, ...]] = ("end_timestep", "weather")


@attrs.frozen(kw_only=True)
class Weathered:
    takes: ClassVar[tuple[str, ...]] = ("weather", "end_timestep", "tokens")


PARTS: list[tuple[Any, type]] = [
    ("workspace", Silent),
    ("workspace", Generous),
    ("workspace", More),
    ("workspace", Misspelt),
    ("callback", Content),
    ("callback", Needy),
    ("callback", Odd),
    ("callback", Careless),
    ("scheduler", Content),
    ("scheduler", Leaping),
    ("scheduler", Careless),
    ("denoiser", Content),
    ("denoiser", Weathered),
]
COMPONENTS = tuple(
    Component(kind=kind, name=config.__name__.lower(), target="a:B", config=config, summary="", distribution="dp-toys")
    for kind, config in PARTS
)
REGISTRY = Registry([PluginRecord("toys", "dp-toys", "1.0", "ok", COMPONENTS)])


def structured(workspace: str, **callbacks: str) -> WorkspaceConfig:
    return structure_run(REGISTRY, {"workspace": workspace, "callbacks": callbacks}, "run.yaml")


@pytest.mark.parametrize("workspace", ["generous", "more"])
def test_a_callback_may_need_what_the_workspace_provides(workspace: str) -> None:
    assert list(structured(workspace, a="content", b="needy").callbacks) == ["a", "b"]


def test_a_callback_that_needs_nothing_fits_every_workspace() -> None:
    assert list(structured("silent", a="content").callbacks) == ["a"]


def test_a_callback_that_needs_what_the_workspace_lacks_is_refused_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        structured("silent", a="content", mine="needy")

    assert str(caught.value) == (
        "run.yaml has 1 problem\n"
        "  callbacks.mine: needs 'progress' and 'num_epochs' of the workspace, which workspace 'silent' does not "
        "provide; leave the callback out or use another workspace; for authors of workspace 'silent': what it has is "
        "named in 'provides' of Silent, see dp_core.interfaces.workspace"
    )


@pytest.mark.parametrize(
    ("workspace", "callback", "message"),
    [
        (
            "generous",
            "odd",
            "callback 'odd' of dp-toys: 'needs' of Odd names 'optimizer', which is no part of a workspace; the parts "
            "are progress, num_epochs, steps_per_epoch, batch_size, model, ema_model, request_stop",
        ),
        (
            "generous",
            "careless",
            "callback 'careless' of dp-toys: 'needs' of Careless must be a tuple such as ('progress',), got 'progress'",
        ),
        (
            "misspelt",
            "content",
            "workspace 'misspelt' of dp-toys: 'provides' of Misspelt names 'progres', which is no part of a workspace; "
            "did you mean 'progress'?",
        ),
    ],
)
def test_words_that_are_no_parts_are_faults_of_the_plugin(workspace: str, callback: str, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        structured(workspace, mine=callback)

    assert str(caught.value) == message


def untaken(denoiser: str, scheduler: str) -> list[str]:
    parts = (structure_block(REGISTRY, kind, name) for kind, name in (("denoiser", denoiser), ("scheduler", scheduler)))
    return list(untaken_inputs(*parts))


@pytest.mark.parametrize(
    ("denoiser", "scheduler"), [("content", "content"), ("weathered", "content"), ("weathered", "leaping")]
)
def test_a_denoiser_may_take_more_than_its_scheduler_needs(denoiser: str, scheduler: str) -> None:
    assert untaken(denoiser, scheduler) == []


def test_a_denoiser_that_takes_less_is_refused_whatever_the_words_are() -> None:
    assert untaken("content", "leaping") == [
        "'content' takes no 'end_timestep' and 'weather', which scheduler 'leaping' needs; choose another denoiser or "
        "scheduler; for authors of denoiser 'content': what it takes is named in 'takes' of Content, see "
        "dp_core.interfaces.denoiser"
    ]
    assert needed_inputs(structure_block(REGISTRY, "scheduler", "leaping")) == ("end_timestep", "weather")


def test_needs_that_are_no_tuple_are_a_fault_of_the_plugin() -> None:
    with pytest.raises(PluginError) as caught:
        untaken("content", "careless")

    assert str(caught.value) == (
        "scheduler 'careless' of dp-toys: 'needs' of Careless must be a tuple such as ('end_timestep',), got 'progress'"
    )
