"""From files and overrides to one plain mapping: what merges, what replaces, what is refused."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dp_core.config.compose import Removals, apply_overrides, compose, merge, parse_override, read_config, resolve
from dp_core.config.env_variables import FromEnvironment
from dp_core.errors import ConfigError


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


def message(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(path, overrides)
    return str(caught.value)


# -- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "update", "expected"),
    [
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2, 3]}, {"a": [4]}, {"a": [4]}),
        ({"a": {"x": 1}}, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": None}, {"a": {"x": 1}}, {"a": {"x": 1}}),
    ],
)
def test_mappings_merge_and_everything_else_replaces(base: Any, update: Any, expected: Any) -> None:
    assert merge(base, update) == expected


TIMM = {"name": "timm", "model_name": "resnet18", "pretrained": True}


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"pretrained": False}, {"name": "timm", "model_name": "resnet18", "pretrained": False}),
        ({"name": "timm", "pretrained": False}, {"name": "timm", "model_name": "resnet18", "pretrained": False}),
        ({"name": "r3m"}, {"name": "r3m"}),
        ({"name": "r3m", "depth": 18}, {"name": "r3m", "depth": 18}),
        ({"name": None}, {"name": None}),
        ("r3m", {"name": "r3m"}),
        ("timm", TIMM),
    ],
)
def test_a_block_whose_name_changes_starts_anew(update: Any, expected: Any) -> None:
    assert merge({"encoder": TIMM}, {"encoder": update}) == {"encoder": expected}


def test_options_can_be_given_to_a_block_in_its_short_form() -> None:
    assert merge({"scheduler": "ddpm"}, {"scheduler": {"steps": 5}}) == {"scheduler": {"name": "ddpm", "steps": 5}}
    assert merge({"scheduler": "ddpm"}, {"scheduler": {"name": "ddim"}}) == {"scheduler": {"name": "ddim"}}


@pytest.mark.parametrize("update", ["ddpm", {"name": "ddpm"}])
def test_the_short_name_of_a_qualified_one_is_no_change(update: Any) -> None:
    """Resolved configs hold qualified names; what is typed on top of them when a run is resumed is short."""
    base = {"scheduler": {"name": "dp-core/ddpm", "steps": 5}}

    assert merge(base, {"scheduler": update}) == base
    assert merge(base, {"scheduler": {"name": "dp-other/ddpm"}}) == {"scheduler": {"name": "dp-other/ddpm"}}


def test_merging_changes_neither_side() -> None:
    base, update = {"a": {"x": 1}}, {"a": {"y": 2}}

    merge(base, update)["a"]["z"] = 3

    assert (base, update) == ({"a": {"x": 1}}, {"a": {"y": 2}})


def test_null_that_takes_nothing_away_is_told_from_one_that_does(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        run="extends: [middle.yaml]\nobs: {hand: null, hnad: null}",
        middle="extends: [base.yaml]\nobs: {front: null}",
        base="obs: {hand: {shape: [1]}, front: {shape: [1]}, side: {shape: [1]}, never: null}",
    )
    removals = Removals()

    data = apply_overrides(read_config(path, removals=removals), ["obs.side=null", "obs.sdie=null"], removals)

    assert removals.idle(data) == {"obs.hnad", "obs.never", "obs.sdie"}


# -- extends ----------------------------------------------------------------------------------------------------------


def test_files_merge_left_to_right_and_the_file_itself_last(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        run="extends: [first.yaml, second.yaml]\nc: run",
        first="a: first\nb: first\nc: first",
        second="b: second\nc: second",
    )

    assert compose(path) == {"a": "first", "b": "second", "c": "run"}


def test_files_are_found_beside_the_file_that_extends_them(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    path = write(tmp_path, run="extends: [task/push.yaml]")
    write(tmp_path / "task", push="extends: [common.yaml]\na: 1", common="b: 2")

    assert compose(path) == {"a": 1, "b": 2}


def test_a_circle_of_files_is_shown(tmp_path: Path) -> None:
    path = write(tmp_path, one="extends: [two.yaml]", two="extends: [one.yaml]")

    assert message(path) == (
        f"{tmp_path}/one.yaml has 1 problem\n  extends: goes round in a circle: one.yaml -> two.yaml -> one.yaml"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("extends: [gone.yaml]", "{folder}/gone.yaml has 1 problem\n  no such file, which run.yaml extends"),
        ("extends: base.yaml", "{folder}/run.yaml has 1 problem\n  extends: expected a list of files, got 'base.yaml'"),
        ("- a\n- b", "{folder}/run.yaml has 1 problem\n  expected a mapping of options at the top"),
        ("3", "{folder}/run.yaml has 1 problem\n  not valid YAML: Invalid loaded object type: int"),
        (
            "a: 1\nb: [1, 2",
            "{folder}/run.yaml has 1 problem\n  not valid YAML: while parsing a flow sequence in "
            "\"{folder}/run.yaml\", line 2, column 4 did not find expected ',' or ']' in \"{folder}/run.yaml\", "
            "line 3, column 1",
        ),
        (
            "a:\n\tb: 1",
            "{folder}/run.yaml has 1 problem\n  not valid YAML: while scanning for the next token found character that "
            'cannot start any token in "{folder}/run.yaml", line 2, column 1; that is a tab: indent with spaces',
        ),
        (
            "a: 1\na: 2",
            "{folder}/run.yaml has 1 problem\n  not valid YAML: while constructing a mapping in "
            '"{folder}/run.yaml", line 1, column 1 found duplicate key a in "{folder}/run.yaml", line 2, column 1',
        ),
        (
            "a: !!python/object/apply:os.getcwd []",
            "{folder}/run.yaml has 1 problem\n  not valid YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.getcwd' in \"{folder}/run.yaml\", line 1, column 4",
        ),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, problem: str) -> None:
    found = message(write(tmp_path, run=text))

    # PyYAML's parsers, in C and in Python, number the end of a file differently.
    assert re.sub(r"line 3, column \d|line 2, column 9", "line 3, column 1", found) == problem.format(folder=tmp_path)


def test_a_file_that_is_not_there() -> None:
    assert message("gone.yaml") == "gone.yaml has 1 problem\n  no such file"


# -- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", {"a": 1}),
        ("a.b=[1, 2]", {"a": {"b": [1, 2]}}),
        ("lr=1e-4", {"lr": 1e-4}),
        ("a=null", {"a": None}),
        ("a='1'", {"a": "1"}),
        ("a=x=y", {"a": "x=y"}),
        ("policy.encoder={name: r3m, depth: 18}", {"policy": {"encoder": {"name": "r3m", "depth": 18}}}),
        ("a=${b}", {"a": "${b}"}),
    ],
)
def test_overrides_are_yaml(text: str, expected: Any) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", "a.=1", ".a=1", "a[0]=1", "--seed=1"])
def test_what_is_not_an_override_is_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_override(text)

    assert str(caught.value) == f"the command line has 1 problem\n  '{text}' is not an override; write key=value"


def test_overrides_come_last_and_in_order(tmp_path: Path) -> None:
    path = write(tmp_path, run="extends: [base.yaml]\nencoder: {name: timm, pool: avg}", base="seed: 1")

    assert compose(path, ["seed=2", "seed=3", "encoder.name=r3m"]) == {"seed": 3, "encoder": {"name": "r3m"}}


def test_an_override_drops_an_option_or_a_block(tmp_path: Path) -> None:
    path = write(tmp_path, run="encoder: {name: timm, pool: avg, crop: {height: 1, width: 2}}\nrunner: {name: arm}")

    dropped = compose(path, ["~encoder.crop.width", "~runner", "encoder.pool=max", "~encoder.pool"])

    assert dropped == {"encoder": {"name": "timm", "crop": {"height": 1}}}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("~encoder.poll", "encoder.poll: is not set, so that nothing can be dropped; did you mean 'pool'?"),
        ("~pool", "pool: is not set, so that nothing can be dropped; did you mean 'encoder.pool'?"),
        ("~encodr.pool", "encodr: is not set, so that nothing can be dropped; did you mean 'encoder.pool'?"),
        ("~encoder.pool.size", "encoder.pool.size: is not set, so that nothing can be dropped; leave it out"),
        ("~xyz", "xyz: is not set, so that nothing can be dropped; leave it out"),
        ("~encoder..pool", "'~encoder..pool' drops no option; write ~key, such as ~policy.encoder.pool"),
        ("~seed=1", "'~seed=1' drops no option; write ~key, such as ~policy.encoder.pool"),
    ],
)
def test_what_cannot_be_dropped_is_shown(tmp_path: Path, override: str, problem: str) -> None:
    path = write(tmp_path, run="encoder: {name: timm, pool: avg}")

    assert message(path, override) == f"the command line has 1 problem\n  {problem}"


def test_what_is_dropped_may_be_set_again(tmp_path: Path) -> None:
    path = write(tmp_path, run="encoder: {name: timm, pool: avg}")

    assert compose(path, ["~encoder.pool", "encoder.pool=max"]) == {"encoder": {"name": "timm", "pool": "max"}}


def test_a_value_that_is_not_yaml(tmp_path: Path) -> None:
    assert message(write(tmp_path, run="a: 1"), "a=[1") == (
        "the command line has 1 problem\n  a: the value of 'a=[1' is not YAML: while parsing a flow sequence"
    )


def test_a_number_of_more_digits_than_python_reads(tmp_path: Path) -> None:
    digits = "9" * 5000

    assert message(write(tmp_path, run=f"a: {digits}")).startswith(
        f"{tmp_path}/run.yaml has 1 problem\n  not valid YAML: Exceeds the limit (4300 digits)"
    )
    assert message(write(tmp_path, run="a: 1"), f"a={digits}").startswith(
        f"the command line has 1 problem\n  a: the value of 'a={digits}' is not YAML: Exceeds the limit (4300 digits)"
    )


# -- interpolation ----------------------------------------------------------------------------------------------------


def test_names_stand_for_values_wherever_they_were_set(tmp_path: Path) -> None:
    path = write(tmp_path, run="extends: [base.yaml]\nhorizon: 16", base="policy: {horizon: '${horizon}'}")

    assert compose(path, ["horizon=32"]) == {"policy": {"horizon": 32}, "horizon": 32}


def test_the_environment_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_TEST_DATA", "/data")

    assert compose(write(tmp_path, run="path: ${oc.env:DP_TEST_DATA}/x.zarr")) == {"path": "/data/x.zarr"}


def test_a_value_of_the_environment_is_known_wherever_names_lead_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_TEST_SEED", "7")

    data = {"training": {"seed": "${oc.env:DP_TEST_SEED}"}, "alone": "${training.seed}", "inside": "run_${alone}"}
    resolved = resolve(data, "")

    assert resolved == {"training": {"seed": "7"}, "alone": "7", "inside": "run_7"}
    for value in (resolved["training"]["seed"], resolved["alone"]):
        assert (type(value), value.reading) == (FromEnvironment, 7)
        assert value.origin == "the environment variable DP_TEST_SEED"
    assert type(resolved["inside"]) is str


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        ("${oc.env:DP_TEST_UNSET,42}", 42),
        ("${ oc.env : DP_TEST_UNSET , 1e-4 }", 1e-4),
        ("${oc.env:DP_TEST_UNSET,'010'}", 10),
        ("${oc.env:DP_TEST_UNSET,'008'}", 8),
        ("${oc.env:DP_TEST_UNSET,'00'}", 0),
        ("${oc.env:DP_TEST_UNSET,'a, b'}", "a, b"),
    ],
)
def test_a_default_is_text_as_the_environment_is(value: str, reading: Any) -> None:
    found = resolve({"a": value}, "")["a"]

    assert (found.reading, found.origin) == (reading, "the default of the environment variable DP_TEST_UNSET")


def test_a_default_may_be_another_value_or_none() -> None:
    data = {"a": "${oc.env:DP_TEST_UNSET,${seed}}", "b": "${oc.env:DP_TEST_UNSET,null}", "seed": 3}

    assert resolve(data, "") == {"a": 3, "b": None, "seed": 3}


def test_a_default_may_be_another_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_TEST_SEED", "7")

    found = resolve({"a": "${oc.env:DP_TEST_UNSET,${oc.env:DP_TEST_SEED}}"}, "")["a"]

    assert (found.reading, found.origin) == (7, "the environment variable DP_TEST_SEED")


def test_what_the_environment_holds_is_never_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_TEST_TEXT", "${seed} [1")

    found = resolve({"a": "${oc.env:DP_TEST_TEXT}", "seed": 3}, "")["a"]

    assert found == found.reading == "${seed} [1"


def test_text_that_was_quoted_stays_text(tmp_path: Path) -> None:
    found = compose(write(tmp_path, run="name: '007'\nother: ${name}"))

    assert [type(value) for value in found.values()] == [str, str]


def test_now_is_one_moment_in_the_whole_config() -> None:
    resolved = resolve({"a": "${dp.now:%Y-%m-%d}", "b": ["x_${dp.now:'%H:%M:%S'}"], "c": "${dp.now:}", "d": "${c}"}, "")

    assert re.fullmatch(r"\d{4}-\d\d-\d\d", resolved["a"])
    assert re.fullmatch(r"x_\d\d:\d\d:\d\d", resolved["b"][0])
    assert resolved["c"] == f"{resolved['a']}_{resolved['b'][0][2:].replace(':', '-')}" == resolved["d"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("${nope}", "a.b: Interpolation key 'nope' not found"),
        ("${oc.env:DP_TEST_UNSET}", "a.b: Environment variable 'DP_TEST_UNSET' not found"),
        ("${a.b}", "a.b: Recursive interpolation detected"),
        ("${", "a.b: no viable alternative at input '${'"),
    ],
)
def test_names_without_a_value(value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"a": {"b": value}}, "run.yaml")

    assert str(caught.value) == f"run.yaml has 1 problem\n  {problem}"


@pytest.fixture
def eval_resolver() -> Iterator[None]:
    """What programs around Hydra often register, and what anybody's config could then call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OmegaConf 2.4 has another name for the function, which 2.3 lacks
        for name in ("eval", "my-eval"):
            OmegaConf.register_new_resolver(name, eval)
    yield
    for name in ("eval", "my-eval"):
        OmegaConf.clear_resolver(name)


@pytest.mark.usefixtures("eval_resolver")
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("${eval:'1+1'}", "x[0]: '${eval:...}' is not allowed; the resolvers are oc.env, dp.now"),
        ("${ eval : '1+1' }", "x[0]: '${ eval :...}' is not allowed; the resolvers are oc.env, dp.now"),
        ("${my-eval:'1+1'}", "x[0]: '${my-eval:...}' is not allowed; the resolvers are oc.env, dp.now"),
        (
            "a ${oc.env:HOME} ${oc.create:1}",
            "x[0]: '${oc.create:...}' is not allowed; the resolvers are oc.env, dp.now",
        ),
        ("${${k}:'1+1'}", "x[0]: '${${...' is not allowed; a name must not be made of other names"),
        ("${oc.env:HOME,${eval:1}}", "x[0]: '${eval:...}' is not allowed; the resolvers are oc.env, dp.now"),
    ],
)
@pytest.mark.parametrize("container", [list, tuple])
def test_a_config_never_runs_code(value: str, problem: str, container: type) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"k": "eval", "x": container([value])}, "run.yaml")

    assert str(caught.value) == f"run.yaml has 1 problem\n  {problem}"
