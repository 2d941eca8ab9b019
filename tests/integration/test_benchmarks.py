"""Every benchmark runs, compares results before it times them, and reports ratios. What it measures is not tested."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dp_core.training.allocator import keep_freed_memory

FOLDER = Path(__file__).parents[2] / "benchmarks"
SHARED = {"all", "common", "floor", "peers", "plain", "subjects"}
UNTIMED = {"modes"}
BENCHMARKS = sorted({path.stem for path in FOLDER.glob("*.py")} - SHARED - UNTIMED)


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other people's code is timed where it is; here it would only take time. The allocator is left as it was."""
    monkeypatch.delenv("DP_ORIGINAL", raising=False)
    yield
    keep_freed_memory(False)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """``load(name)``: a script as its own process would import it, without seconds of imports for each."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in [name for name, module in sys.modules.items() if is_benchmark(module)]:
        del sys.modules[name]


def is_benchmark(module: ModuleType) -> bool:
    return Path(getattr(module, "__file__", None) or ".").parent == FOLDER


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_compares_results_and_reports_ratios(
    name: str, load: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"

    load(name).main(["--quick", "--json", str(path)])

    result = json.loads(path.read_text())
    assert result["quick"] is True
    assert result["machine"]["torch"] == torch.__version__
    shown = capsys.readouterr().out
    for table in result["tables"]:
        assert table["title"] in shown
        assert len(table["rows"]) > 1
        assert table["rows"][table["yardstick"]]["ratio"] == 1
        assert all(row["ratio"] > 0 and row["median"] > 0 for row in table["rows"].values())
        assert all(c["difference"] <= c["tolerance"] for c in table["compared"])
    assert any(table["compared"] for table in result["tables"])


def test_what_schedulers_represent_is_a_table_for_the_documentation(
    load: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"

    load("modes").main(["--quick", "--json", str(path)])

    facts = json.loads(path.read_text())["facts"]
    shown = capsys.readouterr().out
    assert {"demonstrations", "their mean", "ddpm, 100", "mean_flow, 1", "mip, 2"} <= facts.keys()
    assert all(f"| {name} | {distance:.3f} |" in shown for name, distance in facts.items())


def test_a_ratio_is_the_median_of_the_rounds(load: Callable[[str], Any]) -> None:
    """A round in which the machine was busy with something else does not count more than any other."""
    values = {"plain": [2.0, 20.0, 2.0], "ours": [1.0, 10.0, 4.0]}

    table = load("common").Table("title", "plain", values, floors={"ours": 0.5}, items=8)

    assert table.ratio("ours") == 2
    assert table.lines() == [
        "title",
        "                s   ratio  x floor  samples/s",
        "plain           2    1.00                 4.0",
        "ours            4    2.00     8.00        2.0",
    ]


def test_results_that_differ_are_not_timed(load: Callable[[str], Any]) -> None:
    with pytest.raises(SystemExit) as error:
        load("common").compare("weights", torch.zeros(2), torch.tensor([0.0, 0.5]), 0.25)

    assert str(error.value) == "weights: results differ by 0.5, 0.25 is allowed; nothing was timed"


def test_a_result_that_is_not_a_number_differs(load: Callable[[str], Any]) -> None:
    with pytest.raises(SystemExit):
        load("common").compare("loss", 0.0, float("nan"), 1.0)


def test_contenders_take_turns(load: Callable[[str], Any]) -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}

    seconds = load("common").take_turns(ways, rounds=2, before=lambda name: calls.append(name.upper()))

    assert "".join(calls) == "AaBbBbAa"
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_the_floor_counts_the_traffic_of_weights_and_the_arithmetic_of_layers(load: Callable[[str], Any]) -> None:
    floor = load("floor")
    layer = torch.nn.Linear(10, 20, bias=False)  # 200 weights, 800 bytes

    flops = floor.count_flops(lambda: layer(torch.zeros(3, 10, requires_grad=True)).sum().backward())
    pieces = floor.training_work(layer, flops)

    assert flops == 3 * 2 * 3 * 200  # forward, gradient of the input, gradient of the weight
    assert [(work.read, work.updated) for work in pieces] == [(1600, 800), (0, 5600), (0, 2400)]
    # 3600 operations take longer than the traffic beside them; the other two do nothing but read and write.
    ceilings = floor.Ceilings(flops=1000, read=1000, updated=2000)
    assert ceilings.seconds(*pieces) == pytest.approx(3.6 + 2.8 + 1.2)
