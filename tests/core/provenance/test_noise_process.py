"""A sampler is exchanged without training again: what it takes over from training, and when it is refused."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs
import pytest

from dp_core import Component, NoiseProcess, option
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError
from dp_core.provenance.noise_process import keep_process
from dp_core.registry import Registry


@attrs.frozen(kw_only=True)
class Bridge:
    process: ClassVar[NoiseProcess] = NoiseProcess("bridge", options=("steps", "target"), data_options=("clip",))

    steps: int = option(100, help="steps")
    target: str = option("noise", help="target")
    clip: bool = option(True, help="clip")
    speed: int = option(1, help="no matter for training")


@attrs.frozen(kw_only=True)
class FastBridge(Bridge):
    order: int = option(2, help="order")


@attrs.frozen(kw_only=True)
class River:
    process: ClassVar[NoiseProcess] = NoiseProcess("river")

    steps: int = option(7, help="steps")


@attrs.frozen(kw_only=True)
class Secret:
    steps: int = option(7, help="steps")


@attrs.frozen(kw_only=True)
class Ferry:
    """Goes where its options say, which are called otherwise there and may be left out."""

    boat: str = option(help="boat")
    fuel: dict[str, Any] = option(factory=dict, help="of the boat")

    @classmethod
    def noise_process(cls, block: Mapping[str, Any]) -> NoiseProcess | None:
        if block.get("boat") not in ("raft", "barge"):
            return None
        if block["boat"] == "raft":
            return NoiseProcess("river")
        places = {"steps": "fuel.litres", "target": "fuel.target"}
        return NoiseProcess(
            "bridge", options=("steps", "target"), places=places, defaults={"steps": 100, "target": "sea"}
        )


def scheduler(name: str, config: type, distribution: str = "dp-water") -> Component:
    return Component(
        kind="scheduler", name=name, target="nowhere:Nothing", config=config, summary="", distribution=distribution
    )


WATER = (
    scheduler("bridge", Bridge),
    scheduler("fast_bridge", FastBridge),
    scheduler("river", River),
    scheduler("secret", Secret),
    scheduler("ferry", Ferry),
)
TRAINED = {
    "policy": {
        "scheduler": {"name": "dp-water/bridge", "steps": 50, "target": "data", "clip": False, "speed": 3},
        "encoder": {"name": "dp-water/eye"},
    }
}
KINDS = {"policy": "policy", "policy.scheduler": "scheduler", "policy.encoder": "encoder"}


def keep(block: Any, trained: dict[str, Any] = TRAINED, components: tuple[Component, ...] = WATER) -> Any:
    registry = Registry([PluginRecord("water", "dp-water", "1.0", "ok", components)])
    data = {"policy": {"scheduler": copy.deepcopy(block)}}
    return keep_process(registry, trained, KINDS, data, "latest.ckpt")["policy"]["scheduler"]


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        keep(*arguments, **options)
    return str(caught.value)


def trained_with(name: str) -> dict[str, Any]:
    return {"policy": {"scheduler": {"name": name, "steps": 7}}}


def test_a_sampler_takes_over_the_process_and_nothing_else() -> None:
    assert keep({"name": "fast_bridge", "order": 3}) == {
        "name": "fast_bridge",
        "order": 3,
        "steps": 50,
        "target": "data",
        "clip": False,
    }


def test_what_is_known_of_the_data_may_change() -> None:
    assert keep({"name": "fast_bridge", "clip": True})["clip"] is True


def test_the_same_scheduler_keeps_what_it_has() -> None:
    block = TRAINED["policy"]["scheduler"] | {"speed": 9}

    assert keep(block) == block


def test_another_value_of_the_process_is_refused() -> None:
    message = (
        "latest.ckpt has 2 problems\n"
        "  policy.scheduler.steps: 10, but the weights were trained with 50; leave it out, or train again\n"
        "  policy.scheduler.target: 'noise', but the weights were trained with 'data'; leave it out, or train again"
    )

    assert refusal({"name": "fast_bridge", "steps": 10, "target": "noise"}) == message
    assert refusal(TRAINED["policy"]["scheduler"] | {"steps": 10, "target": "noise"}) == message


def test_another_process_is_refused_with_the_samplers_there_are() -> None:
    assert refusal({"name": "river"}) == (
        "latest.ckpt has 1 problem\n"
        "  policy.scheduler: 'river' reverses the noise process 'river', but the weights were trained with 'bridge' "
        "for 'bridge'; choose 'bridge' or 'fast_bridge', or train again"
    )


@pytest.mark.parametrize(("trainer", "sampler"), [("secret", "bridge"), ("bridge", "secret")])
def test_a_scheduler_that_states_no_process_is_not_exchanged(trainer: str, sampler: str) -> None:
    assert refusal({"name": sampler}, trained_with(trainer)) == (
        "latest.ckpt has 1 problem\n"
        f"  policy.scheduler: whether '{sampler}' can sample is unknown: the weights were trained with '{trainer}', "
        "and Secret of dp-water does not state its noise process"
    )


def test_a_scheduler_that_states_no_process_is_itself() -> None:
    assert keep({"name": "secret", "steps": 9}, trained_with("secret")) == {"name": "secret", "steps": 9}


def test_what_trained_must_be_here_to_be_compared() -> None:
    assert refusal({"name": "bridge"}, trained_with("dp-gone/mist")) == (
        "latest.ckpt has 1 problem\n"
        "  policy.scheduler: whether 'bridge' can sample is unknown: 'dp-gone/mist', which the weights were trained "
        "with, is not installed; install with: pip install dp-gone"
    )


@pytest.mark.parametrize("block", [None, "bridge", {"name": "unknown"}, {"steps": 3}])
def test_what_is_not_a_block_of_a_scheduler_is_left_for_others_to_report(block: Any) -> None:
    assert keep(block) == block


def test_options_that_have_another_place_are_put_there() -> None:
    block = {"name": "ferry", "boat": "barge", "fuel": {"kind": "coal"}}

    assert keep(block) == {**block, "fuel": {"kind": "coal", "litres": 50, "target": "data"}}


def test_they_are_read_from_there_and_where_they_are_left_out_from_what_holds_then() -> None:
    trained = {"policy": {"scheduler": {"name": "ferry", "boat": "barge", "fuel": {"litres": 7}}}}

    assert keep({"name": "bridge"}, trained) == {"name": "bridge", "steps": 7, "target": "sea"}
    assert refusal({"name": "ferry", "boat": "barge", "fuel": {"litres": 8}}, trained) == (
        "latest.ckpt has 1 problem\n"
        "  policy.scheduler.fuel.litres: 8, but the weights were trained with 7; leave it out, or train again"
    )


def test_a_process_that_options_decide_is_compared_also_with_that_of_the_same_component() -> None:
    assert refusal({"name": "ferry", "boat": "raft"}) == (
        "latest.ckpt has 1 problem\n"
        "  policy.scheduler: 'ferry' reverses the noise process 'river', but the weights were trained with 'bridge' "
        "for 'bridge'; choose 'bridge' or 'fast_bridge', or train again"
    )
    trained = {"policy": {"scheduler": {"name": "ferry", "boat": "raft", "fuel": {}}}}
    assert "'ferry' reverses the noise process 'bridge'" in refusal({"name": "ferry", "boat": "barge"}, trained)
    assert keep({"name": "river"}, trained) == {"name": "river"}


def test_options_that_decide_nothing_are_left_for_their_check() -> None:
    block = {"name": "ferry", "boat": "submarine"}

    assert keep(block) == block
