"""The checkpoint file: whole or refused, harmless to read, and clear about what it needs."""

from __future__ import annotations

import logging
import pickle
import resource
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dp_core import Component
from dp_core.checkpoint import (
    CheckpointWriter,
    copy_to_cpu,
    payload_config,
    payload_parts,
    read_payload,
    write_payload,
)
from dp_core.config import structure_run, unstructure
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import CheckpointError, ConfigError
from dp_core.provenance.manifest import manifest
from dp_core.registry import Registry

PAYLOAD = {
    "format": 1,
    "cfg": {"a": 1, "b": [None, True, "x"], "c": {"d": 1e-4}},
    "state_dicts": {
        "model": {"weight": torch.arange(600.0).reshape(20, 30), "half": torch.ones(2, dtype=torch.bfloat16)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.95)}]},
    },
    "callbacks": {"topk": {"best": {"a.ckpt": 0.5}}},
    "pickles": {"best": b"\x80\x04."},
    "manifest": {},
}


class Executes:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "latest.ckpt"
    write_payload(path, PAYLOAD)
    return path


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_payload(path)
    return str(caught.value)


# -- writing and reading ----------------------------------------------------------------------------------------------


def test_what_was_written_is_read(path: Path) -> None:
    found = read_payload(path)

    weights, expected = found["state_dicts"].pop("model"), PAYLOAD["state_dicts"]["model"]
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert found["state_dicts"]["optimizer"]["state"][0]["step"] == 3
    assert found["state_dicts"]["optimizer"]["param_groups"] == [{"betas": (0.9, 0.95)}]
    assert {key: found[key] for key in found if key != "state_dicts"} == {
        key: PAYLOAD[key] for key in PAYLOAD if key != "state_dicts"
    }


def test_the_folder_holds_the_file_and_nothing_else(path: Path) -> None:
    assert [each.name for each in path.parent.iterdir()] == ["latest.ckpt"]


def test_a_file_cut_anywhere_is_refused_in_one_line(path: Path) -> None:
    whole = path.read_bytes()
    for length in [0, 1, 4, 100, *range(500, len(whole), 500), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert message(path) == f"{path}: incomplete or damaged, or not a checkpoint; use another file"


def test_a_file_with_a_changed_weight_is_refused(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    position = whole.index(torch.arange(600.0).numpy().tobytes()) + 1000
    whole[position] ^= 1
    path.write_bytes(whole)

    assert message(path) == f"{path}: incomplete or damaged, or not a checkpoint; use another file"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert message(tmp_path / "gone.ckpt") == f"{tmp_path}/gone.ckpt: no such checkpoint"


def test_a_foreign_pickle_is_refused_and_not_executed(tmp_path: Path) -> None:
    path, mark = tmp_path / "foreign.ckpt", tmp_path / "executed"

    path.write_bytes(pickle.dumps(Executes(mark)))
    assert message(path) == f"{path}: incomplete or damaged, or not a checkpoint; use another file"
    torch.save({"format": 1, "cfg": {}, "state_dicts": {"model": Executes(mark)}}, path)
    assert message(path) == f"{path}: holds Python objects, which are not loaded; it was not written by this program"
    assert not mark.exists()


def test_other_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/readme", "hello")
    assert message(path).startswith(f"{path}: not a checkpoint: ")

    torch.save({"weight": torch.zeros(1)}, path)
    assert message(path) == f"{path}: not a checkpoint of dp-core: 'format', 'cfg' and 'state_dicts' are expected"


def test_another_format_is_named(path: Path) -> None:
    write_payload(path, PAYLOAD | {"format": 2})

    assert message(path) == f"{path}: written in format 2; this dp-core reads format 1"


def test_an_error_while_writing_leaves_the_old_file(path: Path) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        write_payload(path, {"format": 1, "cfg": {}, "state_dicts": {"model": lambda: None}})

    assert read_payload(path).keys() == PAYLOAD.keys()
    assert [each.name for each in path.parent.iterdir()] == ["latest.ckpt"]


@pytest.fixture
def room_for_a_few_bytes() -> Iterator[None]:
    """What the system lets this process write into one file, as a full disk or a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("room_for_a_few_bytes")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "latest.ckpt"
    path.write_text("old")

    with pytest.raises(CheckpointError) as caught:
        write_payload(path, PAYLOAD | {"large": torch.zeros(10_000)})

    assert str(caught.value) == f"{path}: cannot be written: File too large"
    assert [each.name for each in tmp_path.iterdir()] == ["latest.ckpt"]
    assert path.read_text() == "old"


# -- copying ----------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    first: torch.Tensor
    second: int


def test_a_copy_shares_no_memory_and_is_plain() -> None:
    tensor = torch.zeros(3)
    parameter = torch.nn.Parameter(torch.zeros(2))

    copy = copy_to_cpu(
        {"a": [tensor, {"b": tensor[1:]}], "p": parameter, "pair": Pair(tensor, 1), "n": np.float64(0.5)}
    )
    tensor += 1

    assert torch.equal(copy["a"][0], torch.zeros(3))
    assert torch.equal(copy["a"][1]["b"], torch.zeros(2))
    assert (type(copy["p"]), copy["p"].requires_grad) == (torch.Tensor, False)
    assert type(copy["pair"]) is tuple
    assert (type(copy["n"]), copy["n"]) == (float, 0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"topk": {"best": [np.zeros(2)]}}, "topk.best[0]: ndarray cannot be saved"),
        ({"a": Path("x")}, "a: PosixPath cannot be saved"),
        ({"a": {"b": {1, 2}}}, "a.b: set cannot be saved"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(value: Any, text: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        copy_to_cpu(value)

    assert str(caught.value) == f"{text}; return tensors, numbers, strings and plain containers"


# -- in the background ------------------------------------------------------------------------------------------------


def test_files_are_written_in_order_and_announced_when_whole(tmp_path: Path) -> None:
    writer, announced = CheckpointWriter(), []

    for number in range(3):
        path = tmp_path / f"{number}.ckpt"
        writer.submit(
            path, PAYLOAD, lambda path=path: announced.append((path.name, path.is_file(), threading.current_thread()))
        )
    writer.wait()

    assert [(name, whole) for name, whole, _ in announced] == [("0.ckpt", True), ("1.ckpt", True), ("2.ckpt", True)]
    assert threading.main_thread() not in [thread for *_, thread in announced]


def test_an_error_in_the_background_surfaces_at_the_next_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    writer = CheckpointWriter()
    writer.submit(tmp_path / "file" / "latest.ckpt", PAYLOAD, lambda: None)

    with pytest.raises(CheckpointError) as caught:
        writer.submit(tmp_path / "other.ckpt", PAYLOAD, lambda: None)

    expected = f"{tmp_path}/file/latest.ckpt: cannot be written: Not a directory"
    assert str(caught.value).replace("File exists", "Not a directory") == expected
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    writer.wait()


def test_an_error_of_a_listener_surfaces_too(tmp_path: Path) -> None:
    writer = CheckpointWriter()
    writer.submit(tmp_path / "latest.ckpt", PAYLOAD, lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        writer.wait()


# -- what it was made with --------------------------------------------------------------------------------------------


def payload_of(toys: Registry, **changes: Any) -> dict[str, Any]:
    cfg = structure_run(toys, {"workspace": "toy", "callbacks": {"first": "note"}, **changes}, "toy.yaml")
    return PAYLOAD | {"cfg": unstructure(cfg), "manifest": manifest(cfg)}


def lacking(toys: Registry, *names: str) -> Registry:
    """As `toys`, without these components."""
    (plugin,) = toys.plugins
    kept = tuple(component for component in plugin.components if component.name not in names)
    return Registry([PluginRecord("toys", "dp-toys", "1.0", "ok", kept)])


def test_the_manifest_lists_components_and_versions(toys: Registry) -> None:
    found = payload_of(toys)["manifest"]

    assert found["components"] == {
        "workspace": "dp-toys/toy",
        "callbacks.first": "dp-toys/note",
        "policy": "dp-toys/net",
    }
    assert found["distributions"].keys() == {"dp-core", "dp-toys", "torch"}
    assert (found["distributions"]["dp-toys"], found["api"]) == ("1.0", 1)


def test_the_config_comes_back(toys: Registry) -> None:
    cfg = payload_config(payload_of(toys), toys, "latest.ckpt")

    assert [slot.component.qualified_name for slot in (cfg.policy, cfg.callbacks["first"])] == [
        "dp-toys/net",
        "dp-toys/note",
    ]


def test_everything_that_is_missing_is_reported_at_once_with_what_to_install(toys: Registry) -> None:
    payload = payload_of(toys)
    payload["manifest"]["components"]["policy"] = payload["cfg"]["policy"]["name"] = "dp-depth/net"
    payload["manifest"]["distributions"]["dp-depth"] = "0.3.1"

    with pytest.raises(CheckpointError) as caught:
        payload_config(payload, lacking(toys, "note"), "latest.ckpt")

    assert str(caught.value) == (
        "latest.ckpt: made with components that are not available here\n"
        "  callbacks.first: dp-toys/note: dp-toys 1.0 is installed, which does not offer it; "
        "install with: pip install dp-toys==1.0\n"
        "  policy: dp-depth/net: dp-depth is not installed; install with: pip install dp-depth==0.3.1"
    )


def test_packages_that_a_component_requires_are_missing_too(toys: Registry) -> None:
    net = toys.resolve("policy", "net")
    needy = Component(
        kind="policy",
        name="net",
        target=net.target,
        config=net.config,
        summary="",
        requires=("open3d_x",),
        distribution="dp-toys",
    )
    registry = Registry([*lacking(toys, "net").plugins, PluginRecord("needy", "dp-toys", "1.0", "ok", (needy,))])

    with pytest.raises(CheckpointError) as caught:
        payload_config(payload_of(toys), registry, "latest.ckpt")

    assert str(caught.value) == (
        "latest.ckpt: made with components that are not available here\n"
        "  policy: dp-toys/net: needs 'open3d_x'; install with: pip install open3d_x"
    )


def test_a_broken_plugin_is_named_with_its_cause(toys: Registry) -> None:
    registry = Registry([PluginRecord("toys", "dp-toys", "1.0", "broken", cause="ValueError: x")])

    with pytest.raises(CheckpointError) as caught:
        payload_parts(payload_of(toys), registry, "latest.ckpt", payload_of(toys)["cfg"], ("policy",))

    assert str(caught.value) == (
        "latest.ckpt: made with components that are not available here\n"
        "  policy: dp-toys/net: the plugin 'toys' of dp-toys 1.0 is broken: ValueError: x"
    )


def test_parts_need_only_their_own_components(toys: Registry) -> None:
    """A robot has neither the data set nor the callbacks of the run."""
    payload = payload_of(toys)

    parts = payload_parts(payload, lacking(toys, "note", "toy"), "latest.ckpt", payload["cfg"], ("policy",))

    assert parts["policy"].config.size == 4


def test_a_component_that_an_override_replaced_is_not_needed(toys: Registry) -> None:
    payload = payload_of(toys)
    payload["manifest"]["components"]["policy"] = "dp-depth/net"

    assert payload_parts(payload, toys, "latest.ckpt", {"policy": {"name": "net"}}, ("policy",))["policy"]


def test_options_that_are_gone_since_are_reported_with_the_version_of_the_file(toys: Registry) -> None:
    payload = payload_of(toys)
    payload["cfg"]["policy"]["depth"] = 3
    payload["manifest"]["distributions"]["dp-core"] = "0.0.9"

    with pytest.raises(ConfigError) as caught:
        payload_config(payload, toys, "latest.ckpt")

    assert str(caught.value) == (
        "latest.ckpt (made with dp-core 0.0.9) has 1 problem\n  policy.depth: unknown option; the options are size"
    )


def test_what_is_missing_and_what_differs_is_one_message(toys: Registry) -> None:
    payload = payload_of(toys)
    payload["manifest"]["components"]["policy"] = payload["cfg"]["policy"]["name"] = "dp-depth/net"
    payload["manifest"]["distributions"] |= {"dp-toys": "0.9", "dp-depth": "0.3.1"}
    payload["manifest"]["api"] = 2

    with pytest.raises(CheckpointError) as caught:
        payload_config(payload, toys, "latest.ckpt")

    assert str(caught.value) == (
        "latest.ckpt: made with components that are not available here\n"
        "  made with plugin API 2; this dp-core has API 1; upgrade dp-core\n"
        "  policy: dp-depth/net: dp-depth is not installed; install with: pip install dp-depth==0.3.1\n"
        "  note: dp-toys 1.0 is installed; made with 0.9"
    )


def test_other_versions_are_one_warning(toys: Registry, caplog: pytest.LogCaptureFixture) -> None:
    payload = payload_of(toys)
    payload_config(payload, toys, "latest.ckpt")
    assert caplog.messages == []

    payload["manifest"]["distributions"] |= {"dp-toys": "0.9", "dp-gone": "1.0"}
    payload["manifest"]["api"] = 0
    payload_config(payload, toys, "latest.ckpt")

    assert caplog.messages == [
        "latest.ckpt: made with other versions than are installed here\n"
        "  dp-toys 1.0 is installed; made with 0.9\n"
        "  this dp-core has plugin API 1; made with 0"
    ]


@pytest.mark.parametrize("made_with", [None, 5, {}, {"components": 3, "api": "1"}, {"components": {"policy": "a/b"}}])
def test_a_file_without_a_whole_manifest_can_be_read(toys: Registry, made_with: Any) -> None:
    payload = payload_of(toys) | {"manifest": made_with}

    assert payload_parts(payload, toys, "latest.ckpt", payload["cfg"], ("policy",))["policy"].config.size == 4
