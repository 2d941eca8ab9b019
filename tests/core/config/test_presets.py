"""Configs that come with dp-core, by name: found from anywhere, extended by others, told apart from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dp_core.cli.run import main
from dp_core.config.compose import compose
from dp_core.config.presets import Presets, summary_of
from dp_core.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(text)
    return str(caught.value)


def test_every_config_has_the_name_of_its_path() -> None:
    paths = {path.relative_to(CONFIGS).as_posix().removesuffix(".yaml"): path for path in CONFIGS.rglob("*.yaml")}

    assert [(preset.name, preset.path) for preset in Presets().all()] == sorted(paths.items())


@pytest.mark.parametrize("name", ["quickstart", "robomimic/lift_ph_image_unet", "dp-core/quickstart"])
def test_a_name_means_the_config_that_comes_with_dp_core(name: str) -> None:
    assert compose(name) == compose(CONFIGS / f"{name.removeprefix('dp-core/')}.yaml")


def test_a_config_anywhere_can_extend_one_by_name(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("extends: [base/train, policy/diffusion_unet]\nhorizon: 12\n")

    config = compose("mine.yaml")

    assert (config["workspace"], config["policy"]["horizon"]) == ("train", 12)


def test_a_file_that_exists_wins(elsewhere: Path) -> None:
    (elsewhere / "quickstart").write_text("horizon: 1\n")
    (elsewhere / "base").mkdir()
    (elsewhere / "base" / "train").write_text("horizon: 2\n")
    (elsewhere / "mine.yaml").write_text("extends: [base/train]\n")

    assert compose("quickstart") == {"horizon": 1}
    assert compose("mine.yaml") == {"horizon": 2}


def test_a_folder_of_the_same_name_does_not(elsewhere: Path) -> None:
    (elsewhere / "quickstart").mkdir()

    assert compose("quickstart") == compose(CONFIGS / "quickstart.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "quickstat",
            "neither a file nor the name of a config; did you mean 'quickstart' or 'quickstart_image'?",
        ),
        ("zzz", "neither a file nor the name of a config; dp-run --list configs shows those"),
        ("../configs", "neither a file nor the name of a config; a file is meant with its ending, .yaml"),
        ("gone.yaml", "no such file"),
        (
            "configs/task/pusht_image.yaml",
            "no such file; the config of this name that comes with dp-core is 'task/pusht_image', without .yaml",
        ),
    ],
)
def test_what_is_neither_is_told_with_the_nearest(text: str, expected: str) -> None:
    assert message(text) == f"{text} has 1 problem\n  {expected}"


def test_so_is_what_a_config_extends(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("extends: [base/trian]\n")

    assert message("mine.yaml") == (
        "base/trian has 1 problem\n"
        "  neither a file nor the name of a config, which mine.yaml extends; did you mean 'base/train'?"
    )


def test_they_are_listed_with_the_first_sentence_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "configs"]) == 0
    runnable, fragments = capsys.readouterr().out.split("\n\n")

    quickstart = "Ten minutes on two cores: learn Push-T from keypoints, on the demonstrations that come with dp-core"
    assert runnable.startswith("to run: dp-run NAME\n")
    assert fragments.startswith("to build on: `extends: [NAME, ...]` in a config\n")
    assert ["quickstart", "dp-core", *quickstart.split()] in [line.split() for line in runnable.splitlines()]
    assert [line.split()[0] for line in fragments.splitlines()[1:3]] == ["base/train", "policy/diffusion_transformer"]


def test_programs_are_told_where_the_files_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "configs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)

    assert listed[0] == {
        "name": "base/train",
        "distribution": "dp-core",
        "is_fragment": True,
        "path": str(CONFIGS / "base" / "train.yaml"),
        "summary": "What every training run shares: the recipe of the diffusion policy paper",
    }
    assert [entry["name"] for entry in listed] == [preset.name for preset in Presets().all()]


def test_a_summary_ends_at_a_sentence_not_at_an_abbreviation(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# Of Florence et al. 2021, on\n# two lines. More.\nhorizon: 1\n")

    assert summary_of(path) == "Of Florence et al. 2021, on two lines"


def test_a_name_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "smoke"]) == 0
    assert capsys.readouterr().out == "smoke: ok\n"
