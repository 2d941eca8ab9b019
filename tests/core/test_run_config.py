"""A config file to a checked config and back: origins of mistakes, the saved file."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from dp_core import Component, Slot, option, slot
from dp_core.config.schema import WorkspaceConfig
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import ConfigError
from dp_core.registry import Registry
from dp_core.run_config import dump_config, load_config, save_config


@attrs.frozen(kw_only=True)
class EncoderOptions:
    crop_shape: list[int] = option(factory=list, help="")
    pool: str = option("avg", help="")
    rate: float = option(1e-4, help="")


@attrs.frozen(kw_only=True)
class RunOptions(WorkspaceConfig):
    encoder: Slot = slot("encoder")
    seed: int = option(0, help="")
    text: dict[str, str] = option(factory=dict, help="")


REGISTRY = Registry(
    [
        PluginRecord(
            "toys",
            "dp-toys",
            "1.0",
            "ok",
            tuple(
                Component(kind=kind, name=name, target="a:B", config=config, summary="", distribution="dp-toys")
                for kind, name, config in [
                    ("workspace", "toy", RunOptions),
                    ("encoder", "timm", EncoderOptions),
                    ("encoder", "r3m", EncoderOptions),
                ]
            ),
        )
    ]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "push.yaml"
    path.write_text("workspace: toy\nencoder: {name: timm, pool: max}\nseed: 3\n")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(REGISTRY, path, overrides)
    return [str(problem) for problem in caught.value.problems]


def test_a_file_and_overrides_become_a_typed_config(path: Path) -> None:
    config = load_config(REGISTRY, path, ["seed=4", "encoder.rate=1e-3"])

    assert isinstance(config, RunOptions)
    assert (config.seed, config.encoder.config) == (4, EncoderOptions(pool="max", rate=1e-3))


def test_a_run_is_named_after_its_file_unless_it_says_otherwise(path: Path) -> None:
    assert load_config(REGISTRY, path).run_name == "push"
    assert load_config(REGISTRY, path, ["run_name=mine"]).run_name == "mine"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=x"], ["seed: expected a whole number, got 'x' (from the command line)"]),
        (["sede=1"], ["sede: unknown option; did you mean 'seed'? (from the command line)"]),
        (
            ["encoder=timmm"],
            ["encoder.name: unknown encoder 'timmm'; did you mean 'timm'? (from the command line)"],
        ),
        (
            ["encoder.crop_shape=[1, x]"],
            ["encoder.crop_shape[1]: expected a whole number, got 'x' (from the command line)"],
        ),
        (
            ["encoder={name: r3m, pool: 3}", "seed=null"],
            [
                "encoder.pool: expected a string, got 3 (from the command line)",
                "seed: expected a whole number, got null (from the command line)",
            ],
        ),
    ],
)
def test_mistakes_on_the_command_line_are_marked(path: Path, overrides: list[str], expected: list[str]) -> None:
    assert problems(path, *overrides) == expected


def test_mistakes_of_the_file_are_not_blamed_on_the_command_line(path: Path) -> None:
    path.write_text("workspace: toy\nencoder: {name: timm, pool: 3}\n")

    assert problems(path, "encoder={rate: 1.0}", "seed=1") == ["encoder.pool: expected a string, got 3"]


def test_an_empty_mapping_over_what_is_there_is_not_blamed(path: Path) -> None:
    path.write_text("workspace: toy\nencoder: {name: timm, pool: 3}\n")

    assert problems(path, "encoder={}") == ["encoder.pool: expected a string, got 3"]
    assert problems(path, "text={}", "run_name={}", "~encoder.pool") == [
        "run_name: expected a string, got {} (from the command line)"
    ]


IDLE = "null removes an entry that a config below puts there; there is none called"


def test_null_that_removes_nothing_is_a_misspelling(path: Path) -> None:
    path.write_text("workspace: toy\nencoder: timm\ncallbacks: {nothing: null}\n")

    assert problems(path, "callbacks.nothin=null") == [
        f"callbacks.nothing: {IDLE} 'nothing'; leave it out",
        f"callbacks.nothin: {IDLE} 'nothin'; leave it out (from the command line)",
    ]


def test_the_saved_file_gives_the_same_config_again(path: Path, tmp_path: Path) -> None:
    config = load_config(REGISTRY, path, ["run_name=mine", "output_dir=runs/x"])

    save_config(config, tmp_path / "run" / "config.resolved.yaml")

    assert load_config(REGISTRY, tmp_path / "run" / "config.resolved.yaml") == config


def test_strings_stay_strings_in_the_saved_file(path: Path, tmp_path: Path) -> None:
    """Each of these would be read as something else without its quotes."""
    looks = ["1e-4", "12", "null", "yes", "~", "", "2024-01-01", "0x1f", ".inf", "a: b", "12:30", "[1]", "# x", "1_0"]
    path.write_text("workspace: toy\nencoder: timm\ntext:\n" + "".join(f"  k{i}: '{x}'\n" for i, x in enumerate(looks)))
    config = load_config(REGISTRY, path)
    assert list(config.text.values()) == looks

    save_config(config, tmp_path / "saved.yaml")

    assert load_config(REGISTRY, tmp_path / "saved.yaml") == config


def test_the_dump_is_complete_and_qualified(path: Path) -> None:
    assert dump_config(load_config(REGISTRY, path)) == (
        "workspace: dp-toys/toy\n"
        "run_name: push\n"
        "required_plugins: []\n"
        "output_dir: null\n"
        "callbacks: {}\n"
        "encoder:\n"
        "  name: dp-toys/timm\n"
        "  crop_shape: []\n"
        "  pool: max\n"
        "  rate: 0.0001\n"
        "seed: 3\n"
        "text: {}\n"
    )


def test_a_resumed_config_takes_short_names_for_its_qualified_ones(path: Path, tmp_path: Path) -> None:
    save_config(load_config(REGISTRY, path), tmp_path / "saved.yaml")

    assert load_config(REGISTRY, tmp_path / "saved.yaml", ["encoder={name: timm, rate: 2}"]).encoder == Slot(
        REGISTRY.resolve("encoder", "timm"), EncoderOptions(pool="max", rate=2.0)
    )
