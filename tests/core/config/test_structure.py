"""From a plain mapping to typed options: every type, every mistake, rules across blocks, and the way back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from attrs.validators import ge, gt

from dp_core import Component, Slot, option, slot
from dp_core.config import components_of, preflight, structure_block, structure_parts, structure_run, unstructure
from dp_core.config.compose import resolve
from dp_core.config.schema import WorkspaceConfig
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError, PluginError
from dp_core.registry import Registry
from dp_core.shape_meta import crop_problems, shape_meta_problems

SHAPE_META = {"obs": {"image": {"shape": [3, 96, 96], "type": "rgb"}}, "action": {"shape": [2]}}


@attrs.frozen(kw_only=True)
class Nested:
    decay: float = option(0.75, help="of an average", validator=gt(0))
    steps: int = option(3, help="of a ramp")

    def check(self) -> Iterable[tuple[str, str]]:
        if self.steps > 100:
            yield "steps", f"{self.steps} is larger than 100"


@attrs.frozen(kw_only=True)
class Everything:
    """One option of every type that a config may have."""

    integer: int = option(1, help="")
    number: float = option(1.0, help="")
    flag: bool = option(False, help="")
    text: str = option("x", help="")
    path: Path = option(Path("a/b"), help="")
    choice: Literal["avg", "max", 1] = option("avg", help="")
    maybe: int | None = option(None, help="")
    either: int | list[int] = option(1, help="")
    several: list[float] = option(factory=list, help="")
    pair: tuple[int, int] = option((1, 2), help="")
    row: tuple[int, ...] = option((1, 2, 3), help="")
    mapping: dict[str, float] = option(factory=dict, help="")
    anything: dict[str, Any] = option(factory=dict, help="")
    nested: Nested = option(factory=Nested, help="")
    no_nested: Nested | None = option(None, help="")
    list_of_nested: list[Nested] = option(factory=list, help="")


@attrs.frozen(kw_only=True)
class EncoderOptions:
    model: str = option(help="name of the network")
    crop_shape: tuple[int, int] | None = option(None, help="height, width")
    pool: Literal["avg", "spatial_softmax"] = option("avg", help="how features are reduced")

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        for message in crop_problems(self.crop_shape, shape_meta):
            yield "crop_shape", message


@attrs.frozen(kw_only=True)
class SchedulerOptions:
    steps: int = option(100, help="of the process", validator=ge(1))
    path: Path | None = option(None, help="a file")

    def check(self, horizon: int = 1) -> Iterable[tuple[str, str]]:
        if self.steps < horizon:
            yield "steps", f"{self.steps} is less than horizon {horizon}"

    def advise(self, horizon: int = 1) -> Iterable[tuple[str, str]]:
        if self.steps == horizon:
            yield "steps", f"{self.steps} is as small as it can be; choose more"

    def preflight(self) -> Iterable[tuple[str, str]]:
        if self.path is not None:
            yield "path", f"'{self.path}' does not exist"


@attrs.frozen(kw_only=True)
class PolicyOptions:
    horizon: int = option(help="Tp", validator=ge(1))
    n_action_steps: int = option(8, help="Ta")
    encoder: Slot = slot("encoder")
    scheduler: Slot = slot("scheduler", {"name": "ddpm", "steps": 50})

    def check(self) -> Iterable[tuple[str, str]]:
        if self.n_action_steps > self.horizon:
            yield "n_action_steps", f"{self.n_action_steps} is larger than horizon {self.horizon}"


@attrs.frozen(kw_only=True)
class CallbackOptions:
    every: int = option(1, help="epochs")
    windows: list[Nested] = option(factory=list, help="of averages")

    def check(self, num_epochs: int) -> Iterable[tuple[str, str]]:
        if self.every > num_epochs:
            yield "every", f"{self.every} is larger than num_epochs {num_epochs}"


@attrs.frozen(kw_only=True)
class Careless:
    """Its rules have faults."""

    groups: int = option(1, help="")
    fault: str = option("none", help="")

    def check(self, shape_meta: dict[str, Any]) -> Any:
        return {
            "name": [("group", "must be even")],
            "path": [("groups.first", "is accepted"), ("name", "too"), ("", "too")],
            "text": ["groups must be even"],
            "nothing": None,
            "raising": (shape_meta["obs"][key] for key in ["imagee"]),
            "advice": [],
        }[self.fault]

    def advise(self) -> Any:
        return [("group", "should be even")] if self.fault == "advice" else []

    def preflight(self) -> Any:
        if self.fault == "locked":
            raise PermissionError(13, "Permission denied", "/locked")
        yield "file", "does not exist"


@attrs.frozen(kw_only=True)
class Misasking:
    width: int = option(1, help="")

    def check(self, shape_metas: dict[str, Any]) -> Iterable[tuple[str, str]]:
        yield "width", "was asked"

    def advise(self, shape_metas: dict[str, Any] | None = None) -> Iterable[tuple[str, str]]:
        yield "width", f"was asked with {shape_metas}"


@attrs.frozen(kw_only=True)
class RunOptions(WorkspaceConfig):
    shape_meta: dict[str, Any] = option(help="the task")
    policy: Slot = slot("policy")
    runner: Slot | None = slot("runner", None)
    num_epochs: int = option(3, help="")
    nested: Nested = option(factory=Nested, help="")

    def check(self) -> Iterable[tuple[str, str]]:
        for path, message in shape_meta_problems(self.shape_meta):
            yield f"shape_meta.{path}".rstrip("."), message


def component(kind: Any, name: str, config: type, *requires: str) -> Component:
    return Component(
        kind=kind,
        name=name,
        target="collections:Counter",
        config=config,
        summary="",
        requires=requires,
        distribution="dp-toys",
    )


REGISTRY = Registry(
    [
        PluginRecord(
            "toys",
            "dp-toys",
            "1.0",
            "ok",
            (
                component("workspace", "toy", RunOptions, "gymnasium_x"),
                component("workspace", "odd", Everything),
                component("policy", "diffusion", PolicyOptions),
                component("encoder", "timm", EncoderOptions),
                component("encoder", "everything", Everything),
                component("encoder", "careless", Careless),
                component("encoder", "misasking", Misasking),
                component("scheduler", "ddpm", SchedulerOptions, "diffusers_x"),
                component("callback", "log", CallbackOptions),
            ),
        )
    ]
)


def run(**changes: Any) -> dict[str, Any]:
    policy = {"name": "diffusion", "horizon": 16, "encoder": {"name": "timm", "model": "resnet18"}}
    return {"workspace": "toy", "shape_meta": SHAPE_META, "policy": policy} | changes


def structured(data: dict[str, Any]) -> Any:
    return structure_run(REGISTRY, data, "run.yaml")


def problems(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structured(data)
    return [str(problem) for problem in caught.value.problems]


def everything(**options: Any) -> Any:
    return structure_block(REGISTRY, "encoder", {"name": "everything", **options}).config


# -- the environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("integer", "7", 7),
        ("number", "1e-4", 1e-4),
        ("flag", "true", True),
        ("text", "007", "007"),
        ("text", "true", "true"),
        ("text", "", ""),
        ("path", "1", Path("1")),
        ("choice", "max", "max"),
        ("choice", "1", 1),
        ("maybe", "null", None),
        ("maybe", "2", 2),
        ("several", "[1, 2]", [1.0, 2.0]),
        ("mapping", "{a: 1}", {"a": 1.0}),
        ("nested", "{steps: 5}", Nested(steps=5)),
    ],
)
def test_text_of_the_environment_becomes_what_the_option_is(
    name: str, text: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP_TEST", text)

    found = getattr(everything(**resolve({name: "${oc.env:DP_TEST}"}, "")), name)

    assert (found, type(found)) == (expected, type(expected))


def test_where_anything_goes_it_is_read_as_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_TEST", "7")

    found = everything(**resolve({"anything": {"shape": ["${oc.env:DP_TEST}"]}}, "")).anything

    assert found == {"shape": [7]}
    assert type(found["shape"][0]) is int


@pytest.mark.parametrize(
    ("text", "block", "problem"),
    [
        ("abc", {"integer": "${oc.env:DP_TEST}"}, "integer: expected a whole number, got 'abc'"),
        ("1.5", {"integer": "${oc.env:DP_TEST}"}, "integer: expected a whole number, got 1.5"),
        ("7", {"integer": "x${oc.env:DP_TEST}"}, "integer: expected a whole number, got 'x7'"),
        ("-1", {"nested": {"decay": "${oc.env:DP_TEST}"}}, "nested.decay: must be > 0: -1.0"),
        ("101", {"nested": {"steps": "${oc.env:DP_TEST}"}}, "nested.steps: 101 is larger than 100"),
    ],
)
def test_a_problem_names_the_variable_that_it_comes_from(
    text: str, block: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP_TEST", text)

    with pytest.raises(ConfigError) as caught:
        everything(**resolve(block, ""))

    origin = "" if "'x7'" in problem else " (from the environment variable DP_TEST)"
    assert [str(each).replace("'decay' ", "") for each in caught.value.problems] == [f"{problem}{origin}"]


# -- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("integer", 3, 3),
        ("number", 3, 3.0),
        ("number", 1e-4, 1e-4),
        ("flag", True, True),
        ("text", "3", "3"),
        ("path", "c/d", Path("c/d")),
        ("choice", "max", "max"),
        ("choice", 1, 1),
        ("maybe", None, None),
        ("maybe", 2, 2),
        ("either", [1, 2], [1, 2]),
        ("either", 5, 5),
        ("several", [1, 2.5], [1.0, 2.5]),
        ("pair", [3, 4], (3, 4)),
        ("row", [], ()),
        ("row", [5], (5,)),
        ("mapping", {"a": 1}, {"a": 1.0}),
        ("anything", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("nested", {"decay": 1}, Nested(decay=1.0)),
        ("no_nested", {}, Nested()),
        ("list_of_nested", [{"steps": 1}, {}], [Nested(steps=1), Nested()]),
        ("integer", "???", 1),
    ],
)
def test_values_get_the_type_of_their_option(name: str, value: Any, expected: Any) -> None:
    found = getattr(everything(**{name: value}), name)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("integer", 1.0, "integer: expected a whole number, got 1.0"),
        ("integer", True, "integer: expected a whole number, got true"),
        ("integer", None, "integer: expected a whole number, got null"),
        ("number", "1", "number: expected a number, got '1'"),
        ("number", False, "number: expected a number, got false"),
        ("number", 10**400, "number: expected a number, got a whole number beyond 1e308"),
        ("flag", "yes", "flag: expected true or false, got 'yes'"),
        ("flag", 1, "flag: expected true or false, got 1"),
        ("text", 3, "text: expected a string, got 3"),
        ("path", 3, "path: expected a path, got 3"),
        ("choice", "maxx", "choice: 'maxx' is not one of 'avg', 'max', 1; did you mean 'max'?"),
        ("choice", True, "choice: true is not one of 'avg', 'max', 1"),
        ("maybe", "2", "maybe: expected a whole number, got '2'"),
        ("either", "2", "either: expected a whole number or a list, got '2'"),
        ("either", [1, "2"], "either[1]: expected a whole number, got '2'"),
        ("several", 1, "several: expected a list, got 1"),
        ("several", [1, "b"], "several[1]: expected a number, got 'b'"),
        ("pair", [1], "pair: expected 2 values, got 1"),
        ("pair", [1, None], "pair[1]: expected a whole number, got null"),
        ("mapping", [1], "mapping: expected a mapping, got [1]"),
        ("mapping", {"a": "b"}, "mapping.a: expected a number, got 'b'"),
        ("mapping", {1: 2.0}, "mapping: the key 1 is not a string"),
        ("nested", 3, "nested: expected a mapping of options, got 3"),
        ("nested", {"decay": 0}, "nested.decay: must be > 0: 0.0"),
        ("nested", {"steps": 101}, "nested.steps: 101 is larger than 100"),
        ("nested", {"dekay": 1}, "nested.dekay: unknown option; did you mean 'decay'?"),
        ("nested", {"zzz": 1}, "nested.zzz: unknown option; the options are decay, steps"),
        (
            "nested",
            {"decay:1": None},
            "nested.decay:1: unknown option; write 'decay: 1', with a space after the colon",
        ),
        ("list_of_nested", [{}, {"steps": "x"}], "list_of_nested[1].steps: expected a whole number, got 'x'"),
        ("list_of_nested", [{}, {"steps": 101}], "list_of_nested[1].steps: 101 is larger than 100"),
    ],
)
def test_values_of_another_type_are_refused_not_converted(name: str, value: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        everything(**{name: value})

    assert str(caught.value) == f"encoder 'everything' has 1 problem\n  {problem}"


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_all_mistakes_are_reported_at_once() -> None:
    data = run(
        policy={
            "name": "diffusion",
            "horizon": 4,
            "n_action_steps": 8,
            "n_obs_step": 2,
            "encoder": {"name": "timm", "model": "resnet18", "crop_shape": [128, 128]},
        },
        callbacks={"log": {"name": "lgo"}},
        nested={"decay": "fast"},
    )

    with pytest.raises(ConfigError) as caught:
        structured(data)

    assert str(caught.value) == (
        "run.yaml has 5 problems\n"
        "  callbacks.log.name: unknown callback 'lgo'; did you mean 'log'?\n"
        "  policy.n_obs_step: unknown option; did you mean 'n_action_steps'?\n"
        "  nested.decay: expected a number, got 'fast'\n"
        "  policy.n_action_steps: 8 is larger than horizon 4\n"
        "  policy.encoder.crop_shape: [128, 128] is larger than the image (96, 96) of 'image'; "
        "choose at most 96 x 96"
    )


def test_a_former_name_is_told_and_not_taken() -> None:
    renamed = attrs.evolve(component("encoder", "timm", EncoderOptions), renamed={"network": "model"})
    others = [c for c in REGISTRY.components() if c.name != "timm"]
    registry = Registry([PluginRecord("toys", "dp-toys", "1.0", "ok", (renamed, *others))])

    with pytest.raises(ConfigError) as caught:
        structure_block(registry, "encoder", {"name": "timm", "network": "resnet18"})

    assert [str(problem) for problem in caught.value.problems] == [
        "network: unknown option; it was renamed 'model'",
        "model: required, but missing",
    ]


def test_an_option_in_the_wrong_place_is_shown_where_it_belongs() -> None:
    """Rather than an option that has a similar name in that place."""
    data = run(
        crop_shape=[96, 96],
        schedulers={},
        scheduler="ddpm",
        policy=run()["policy"] | {"num_epochs": 3, "step": 5},
        steps=4,
    )

    assert problems(data) == [
        "crop_shape: unknown option; did you mean 'policy.encoder.crop_shape'?",
        "schedulers: unknown option; the options are run_name, required_plugins, output_dir, callbacks, shape_meta, "
        "policy, runner, num_epochs, nested",
        "scheduler: unknown option; did you mean 'policy.scheduler'?",
        "steps: unknown option; did you mean 'nested.steps' or 'policy.scheduler.steps'?",
        "policy.num_epochs: unknown option; did you mean 'num_epochs'?",
        "policy.step: unknown option; the options are horizon, n_action_steps, encoder, scheduler",
    ]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"workspace": None}, "workspace: required, but missing; the usual one is 'workspace: train'"),
        (
            {"workspace": {"name": "toy"}},
            "workspace: expected a name, got {'name': 'toy'}; the usual one is 'workspace: train'",
        ),
        ({"workspace": "toyy"}, "workspace: unknown workspace 'toyy'; did you mean 'toy'?"),
        ({"workspace": "odd"}, "workspace: Everything must extend WorkspaceConfig"),
        ({"policy": None}, "policy: expected the name of a component of kind policy or a mapping, got null"),
        ({"policy": {"horizon": 3}}, "policy.name: is missing; it chooses the policy: diffusion"),
        (
            {"policy": {"name:diffusion": None}},
            "policy.name: is missing; write 'name: diffusion', with a space after the colon",
        ),
        ({"policy": {"name": 3}}, "policy.name: must be a string, got 3; it chooses the policy: diffusion"),
        ({"runner": {}}, "runner.name: is missing; it chooses the runner: none is installed"),
        ({"runner": "pusht"}, "runner.name: unknown runner 'pusht'; no runner is installed"),
        ({"callbacks": {"log": {"evry": 1}}}, "callbacks.log.name: is missing; it chooses the callback: log"),
        ({"callbacks": {3: "log"}}, "callbacks: the key 3 is not a string"),
        ({"polcy": 3}, "polcy: unknown option; did you mean 'policy'?"),
        ({"num_epochs": "many"}, "num_epochs: expected a whole number, got 'many'"),
    ],
)
def test_blocks_that_name_no_component(changes: dict[str, Any], problem: str) -> None:
    assert problems(run(**changes)) == [problem]


def test_a_slot_may_be_left_empty_and_filled_from_its_default() -> None:
    config = structured(run())

    assert config.runner is None
    assert config.policy.config.scheduler == Slot(REGISTRY.resolve("scheduler", "ddpm"), SchedulerOptions(steps=50))


def test_null_removes_a_callback() -> None:
    assert structured(run(callbacks={"log": None, "other": "log"})).callbacks.keys() == {"other"}


def test_an_incomplete_block_is_checked_all_the_same() -> None:
    """A required option is missing: types, ranges and everything around it are still looked at."""
    policy = {"name": "diffusion", "n_action_steps": 99, "encoder": {"name": "timm", "crop_shape": [97, 96]}}

    assert problems(run(policy=policy, callbacks={"log": {"name": "log", "every": 4}}, nested={"decay": -1})) == [
        "policy.horizon: required, but missing",
        "policy.encoder.model: required, but missing",
        "nested.decay: must be > 0: -1.0",
        "callbacks.log.every: 4 is larger than num_epochs 3",
    ]


# -- rules across options ---------------------------------------------------------------------------------------------


def test_a_rule_gets_what_it_names_from_the_blocks_around_it() -> None:
    assert problems(run(num_epochs=5, callbacks={"log": {"name": "log", "every": 6}})) == [
        "callbacks.log.every: 6 is larger than num_epochs 5"
    ]
    structured(run(num_epochs=6, callbacks={"log": {"name": "log", "every": 6}}))


def test_a_rule_is_not_asked_about_values_that_are_wrong_themselves() -> None:
    assert problems(run(num_epochs="many", callbacks={"log": {"name": "log", "every": 6}})) == [
        "num_epochs: expected a whole number, got 'many'"
    ]


def test_a_rule_is_not_asked_about_values_that_break_a_rule_themselves() -> None:
    """The crop rule reads shapes; without this it would fail on a `shape_meta` that has none."""
    encoder = {"name": "timm", "model": "resnet18", "crop_shape": [128, 128]}
    policy = {"name": "diffusion", "horizon": 16, "encoder": encoder}

    assert problems(run(shape_meta={"obs": {"image": {}}, "action": {"shape": [2]}}, policy=policy)) == [
        "shape_meta.obs.image: expected a mapping with 'shape', got {}"
    ]


def test_a_bad_block_is_not_checked_as_if_it_were_the_default() -> None:
    policy = {"name": "diffusion", "horizon": 16, "encoder": "timm", "scheduler": "ddmp"}

    assert problems(run(policy=policy)) == [
        "policy.encoder.model: required, but missing",
        "policy.scheduler.name: unknown scheduler 'ddmp'; did you mean 'ddpm'?",
    ]


def test_rules_see_what_is_known_at_run_time() -> None:
    block = {"name": "timm", "model": "resnet18", "crop_shape": [128, 128]}

    with pytest.raises(ConfigError) as caught:
        structure_block(REGISTRY, "encoder", block, {"shape_meta": SHAPE_META})
    assert str(caught.value) == (
        "encoder 'timm' has 1 problem\n"
        "  crop_shape: [128, 128] is larger than the image (96, 96) of 'image'; choose at most 96 x 96"
    )
    structure_block(REGISTRY, "encoder", block)


def test_what_a_rule_has_a_default_for_need_not_be_known() -> None:
    policy = run()["policy"] | {"scheduler": {"name": "ddpm", "steps": 15}}

    assert problems(run(policy=policy)) == ["policy.scheduler.steps: 15 is less than horizon 16"]
    assert structure_block(REGISTRY, "scheduler", {"name": "ddpm", "steps": 15}).config.steps == 15


def test_a_rule_that_asks_for_what_no_block_has_is_not_passed_over() -> None:
    policy = {"name": "diffusion", "horizon": 16, "encoder": "misasking"}

    assert problems(run(policy=policy)) == [
        "policy.encoder: encoder 'misasking' of dp-toys: Misasking.check asks for 'shape_metas', which no block has; "
        "did you mean 'shape_meta'?"
    ]
    structure_block(REGISTRY, "encoder", "misasking")  # alone, nobody knows what will be around it
    structure_parts(REGISTRY, run(policy=policy), ("policy",), "latest.ckpt")  # nor of a part


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("name", " reports 'group': unknown option; did you mean 'groups'?"),
        ("text", " must yield (option, message), got 'groups must be even'"),
        ("nothing", " must yield (option, message), got None"),
        ("raising", " failed: KeyError: 'imagee'; fix the plugin (--traceback shows where)"),
    ],
)
def test_a_faulty_rule_is_the_fault_of_its_plugin(fault: str, message: str) -> None:
    policy = {"name": "diffusion", "horizon": 16, "encoder": {"name": "careless", "fault": fault}}

    with pytest.raises(PluginError) as caught:
        structured(run(policy=policy))

    assert str(caught.value) == f"encoder 'careless' of dp-toys: Careless.check{message}"


def test_a_rule_may_report_what_is_inside_an_option_and_the_block_itself() -> None:
    policy = {"name": "diffusion", "horizon": 16, "encoder": {"name": "careless", "fault": "path"}}

    assert problems(run(policy=policy)) == [
        "policy.encoder.groups.first: is accepted",
        "policy.encoder.name: too",
        "policy.encoder: too",
    ]


def test_a_faulty_preflight_is_the_fault_of_its_plugin() -> None:
    slot = Slot(REGISTRY.resolve("encoder", "careless"), Careless())

    with pytest.raises(PluginError) as caught:
        list(preflight(slot))

    assert str(caught.value) == (
        "encoder 'careless' of dp-toys: Careless.preflight reports 'file': unknown option; "
        "the options are groups, fault"
    )
    with pytest.raises(PermissionError):  # the user's file; commands name it
        list(preflight(Slot(slot.component, Careless(fault="locked"))))


@pytest.fixture
def advice(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What has been logged since the last call."""

    def take() -> list[str]:
        texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        caplog.clear()
        return texts

    return take


ADVISABLE = {"name": "ddpm", "steps": 16}
ADVICE = "steps: 16 is as small as it can be; choose more"


def test_advice_is_logged_once_wherever_a_config_is_structured(advice: Callable[[], list[str]]) -> None:
    data = run(policy=run()["policy"] | {"scheduler": ADVISABLE})

    structured(data)
    assert advice() == [f"run.yaml: policy.scheduler.{ADVICE}"]
    structure_parts(REGISTRY, data, ("policy",), "latest.ckpt")
    assert advice() == [f"latest.ckpt: policy.scheduler.{ADVICE}"]
    structure_block(REGISTRY, "scheduler", ADVISABLE, {"horizon": 16})
    assert advice() == [f"scheduler 'ddpm': {ADVICE}"]
    structure_block(REGISTRY, "scheduler", ADVISABLE)
    assert advice() == []


def test_there_is_no_advice_on_what_is_refused(advice: Callable[[], list[str]]) -> None:
    policy = run()["policy"] | {"scheduler": ADVISABLE}

    assert problems(run(policy=policy, num_epochs="many")) == ["num_epochs: expected a whole number, got 'many'"]
    with pytest.raises(ConfigError):
        structure_block(REGISTRY, "encoder", "misasking", {"shape_metas": {}})
    assert advice() == []


def test_faulty_advice_is_the_fault_of_its_plugin() -> None:
    policy = {"name": "diffusion", "horizon": 16, "encoder": {"name": "careless", "fault": "advice"}}

    with pytest.raises(PluginError) as caught:
        structured(run(policy=policy))

    assert str(caught.value) == (
        "encoder 'careless' of dp-toys: Careless.advise reports 'group': unknown option; did you mean 'groups'?"
    )


def test_parts_of_a_run_are_structured_without_the_rest() -> None:
    data = run(runner={"name": "of a package that is not here"}, dataset="neither")
    data["policy"]["encoder"]["crop_shape"] = [97, 96]

    with pytest.raises(ConfigError) as caught:
        structure_parts(REGISTRY, data, ("policy",), "latest.ckpt")
    assert str(caught.value) == (
        "latest.ckpt has 1 problem\n"
        "  policy.encoder.crop_shape: [97, 96] is larger than the image (96, 96) of 'image'; choose at most 96 x 96"
    )


# -- after structuring ------------------------------------------------------------------------------------------------


def test_preflight_lists_what_this_machine_lacks() -> None:
    policy = {**run()["policy"], "scheduler": {"name": "ddpm", "path": "/nowhere"}}

    assert [str(problem) for problem in preflight(structured(run(policy=policy)))] == [
        "workspace: workspace 'toy' needs 'gymnasium_x'; install with: pip install gymnasium_x",
        "policy.scheduler: scheduler 'ddpm' needs 'diffusers_x'; install with: pip install diffusers_x",
        "policy.scheduler.path: '/nowhere' does not exist",
    ]


def test_components_of_a_run_have_their_paths() -> None:
    found = components_of(structured(run(callbacks={"first": "log"})))

    assert [(path, component.name) for path, component in found] == [
        ("workspace", "toy"),
        ("callbacks.first", "log"),
        ("policy", "diffusion"),
        ("policy.encoder", "timm"),
        ("policy.scheduler", "ddpm"),
    ]


def test_unstructuring_gives_plain_complete_and_qualified_data() -> None:
    plain = unstructure(structured(run(callbacks={"first": "log"})))

    assert plain == {
        "workspace": "dp-toys/toy",
        "run_name": "run",
        "required_plugins": [],
        "output_dir": None,
        "callbacks": {"first": {"name": "dp-toys/log", "every": 1, "windows": []}},
        "shape_meta": SHAPE_META,
        "policy": {
            "name": "dp-toys/diffusion",
            "horizon": 16,
            "n_action_steps": 8,
            "encoder": {"name": "dp-toys/timm", "model": "resnet18", "crop_shape": None, "pool": "avg"},
            "scheduler": {"name": "dp-toys/ddpm", "steps": 50, "path": None},
        },
        "runner": None,
        "num_epochs": 3,
        "nested": {"decay": 0.75, "steps": 3},
    }


def test_there_and_back_is_the_same() -> None:
    encoder = {"name": "everything", "pair": [3, 4], "path": "c/d", "nested": {"steps": 5}, "list_of_nested": [{}]}
    config = structured(run(policy={"name": "diffusion", "horizon": 16, "encoder": encoder}))

    assert structured(unstructure(config)) == config
