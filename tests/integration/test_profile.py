"""``dp-run CONFIG profile=true``: a table of where the time went that adds up, advice, and a trace."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dp_core.cli.run import main
from dp_core.profiling import Profiler, SectionTime
from dp_core.registry import Registry
from dp_core.run_config import load_config
from dp_training.config import TrainConfig
from dp_training.profile import report

ROW = re.compile(r"^( *)(\S.*?) +(\d+\.\d\d) +(\d+\.\d)%")


def rows(folder: Path) -> list[tuple[int, str, float]]:
    """Depth, name and seconds of each row of the table."""
    found = (ROW.match(line) for line in (folder / "profile.txt").read_text().splitlines())
    return [(len(match[1]), match[2], float(match[3])) for match in found if match]


def test_a_profile_tells_where_the_whole_time_of_a_run_went(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    start = time.perf_counter()
    assert main([str(tiny_config), f"output_dir={folder}", "profile=true"]) == 0
    elapsed = time.perf_counter() - start

    table = rows(folder)
    assert {
        "setup", "data", "loss", "  encode", "  denoise", "backward", "optimizer", "EMA", "log",
        "validation", "sampling", "checkpoint", "profiling", "everything else", "all",
    } == {" " * depth + name for depth, name, _ in table}  # fmt: skip
    *parts, (_, last, whole) = table
    assert last == "all"
    assert sum(seconds for depth, _, seconds in parts if depth == 0) == pytest.approx(whole, abs=0.005 * len(parts))
    assert 0 < whole <= elapsed + 0.005
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert names.count("backward") == names.count("optimizer") == 3
    assert "aten::convolution" in names
    assert f"where the time went: {folder}/profile.txt, {folder}/trace.json" in capsys.readouterr().out


def test_an_interrupted_run_leaves_what_it_has_and_is_measured_on_when_it_goes_on(
    tiny_config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    program = (
        "import os, signal, sys, dp_core.cli.run, dp_core.training.loop\n"
        "advance = dp_core.training.loop.Progress.advance\n"
        "def advance_and_die(progress, *arguments):\n"
        "    advance(progress, *arguments)\n"
        "    if progress.global_step == 5: os.kill(os.getpid(), signal.SIGINT)\n"
        "dp_core.training.loop.Progress.advance = advance_and_die\n"
        "sys.exit(dp_core.cli.run.main(sys.argv[1:]))\n"
    )
    arguments = [str(tiny_config), f"output_dir={folder}", "profile=true"]
    interrupted = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, timeout=120)

    first = (folder / "profile.txt").read_text()
    assert interrupted.returncode == 128 + signal.SIGINT
    assert first.startswith("Where the time went: 5 training steps in ")
    assert "checkpoint" in first
    assert (folder / "trace.json").is_file()

    assert main(["--resume", str(folder)]) == 0
    second = (folder / "profile.txt").read_text()
    assert second.startswith("Where the time went: 22 training steps in ")

    assert main(["--resume", str(folder)]) == 0
    assert (folder / "profile.txt").read_text() == second, "a finished run has nothing to add"


def test_a_failing_run_leaves_what_it_has(tiny_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([str(tiny_config), f"output_dir={folder}", "profile=true", "optimizer.lr=1e30"]) == 2

    assert [name for _, name, _ in rows(folder)][-2:] == ["everything else", "all"]


def test_a_run_that_cannot_begin_leaves_what_it_has(tiny_config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main([str(tiny_config), f"output_dir={folder}", "profile=true", "training.device=cuda:99"]) == 2

    assert (folder / "profile.txt").read_text().startswith("Where the time went: 0 training steps in ")


# -- the report ------------------------------------------------------------------------------------------------------


def profile_of(seconds: dict[str, float], device: str = "cpu") -> Profiler:
    """Of ten seconds and five steps."""
    profile = Profiler(Path("trace.json"))
    profile.times = {tuple(name.split("/")): SectionTime(time, 5) for name, time in seconds.items()}
    profile.seconds, profile.n_steps, profile.device = 10.0, 5, torch.device(device)
    return profile


@pytest.fixture
def config(tiny_config: Path) -> TrainConfig:
    cfg = load_config(Registry.discover(), tiny_config, ["ema.single_pass=false"])
    assert isinstance(cfg, TrainConfig)
    return cfg


def test_a_report_is_a_table_and_what_to_make_of_it(config: TrainConfig) -> None:
    profile = profile_of({"data": 3.5, "loss": 1.5, "backward": 2.5, "loss/denoise": 1.25, "mine": 0.5, "EMA": 1.0})

    assert report(profile, config) == (
        "Where the time went: 5 training steps in 10.00 s on cpu.\n"
        "A step takes 1700.0 ms on average, from its data to its log.\n"
        "\n"
        "                        seconds    share   times\n"
        "data                       3.50    35.0%       5   waiting for batches; copying them to the device\n"
        "loss                       1.50    15.0%       5   the networks, forward\n"
        "  denoise                  1.25    12.5%       5   the network that predicts\n"
        "backward                   2.50    25.0%       5   gradients\n"
        "mine                       0.50     5.0%       5\n"
        "EMA                        1.00    10.0%       5   moving average of the weights\n"
        "everything else            1.00    10.0%\n"
        "all                       10.00   100.0%\n"
        "\n"
        "Most of it, 40%, is the networks, forward and backward. "
        "A GPU is what helps; or a smaller network, or smaller images.\n"
        "'data' is 35%. More processes load faster: dataloader.num_workers=4.\n"
        "'EMA' is 10%. ema.single_pass=true is faster; the last digits differ.\n"
        "There is no trace: it would have begun after three steps.\n"
    )


@pytest.mark.parametrize(
    ("seconds", "device", "advice"),
    [
        (
            {"loss": 4.0, "backward": 5.0},
            "cuda",
            "Most of it, 90%, is the networks, forward and backward. "
            "training.precision=bfloat16 and training.compile=true may be faster; compare the losses.",
        ),
        ({"mine": 8.0, "data": 1.9}, "cpu", "Most of it, 80%, is 'mine'."),
        (
            {"setup": 8.0},
            "cpu",
            "Most of it, 80%, is 'setup'. It is done once: in a longer run it counts for less.",
        ),
        ({"setup": 2.0}, "cpu", "Most of it, 80%, is 'everything else'."),
        (
            {"rollouts": 5.0, "checkpoint": 1.0},
            "cpu",
            "Most of it, 50%, is 'rollouts'. training.rollout_every makes them less often, runner.n_test shorter.\n"
            "'checkpoint' is 10%. training.checkpoint_every makes it less often.",
        ),
    ],
)
def test_what_takes_most_is_said_and_which_option_could_help(
    seconds: dict[str, float], device: str, advice: str, config: TrainConfig
) -> None:
    profile = profile_of(seconds, device)
    profile.is_traced = True

    trace = "trace.json shows a few steps in detail; open it at https://ui.perfetto.dev.\n"
    assert report(profile, config).partition("100.0%\n\n")[2] == f"{advice}\n{trace}"
