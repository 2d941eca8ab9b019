"""``dp-run`` as it is typed: what it shows, what it imports, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dp_core import Component
from dp_core.cli.data import main as dp_data
from dp_core.cli.listing import describe_text, list_text
from dp_core.cli.run import main
from dp_core.component import KINDS
from dp_core.discovery.loading import PluginRecord
from dp_core.errors import PluginError
from dp_core.registry import Registry

HEAVY = ["torch", "diffusers", "timm", "robomimic", "zarr", "wandb", "omegaconf", "numpy", "gymnasium", "pygame"]

WRAPPER = f"""
import sys
from dp_core.cli.run import main
status = main(sys.argv[1:])
print("imported", [name for name in {HEAVY} if name in sys.modules])
sys.exit(status)
"""


def dp_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own, whose last line says which heavy packages it imported."""
    command = [sys.executable, "-c", WRAPPER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def config(toys: Registry, tmp_path: Path) -> Path:
    path = tmp_path / "toy.yaml"
    path.write_text(f"workspace: toy\npolicy: {{name: net, size: 3}}\noutput_dir: {tmp_path}/run\n")
    return path


# -- what is installed ------------------------------------------------------------------------------------------------


def test_listing_imports_nothing_heavy() -> None:
    done = dp_run("--list")

    assert (done.returncode, done.stderr) == (0, "")
    assert "  train  dp-core" in done.stdout
    assert done.stdout.endswith("imported []\n")


def test_listing_a_kind_for_programs(toys: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "callback", "--json"]) == 0

    listed = json.loads(capsys.readouterr().out)
    assert [entry for entry in listed["components"] if entry["distribution"] == "dp-toys"] == [
        {
            "kind": "callback",
            "name": "note",
            "qualified_name": "dp-toys/note",
            "distribution": "dp-toys",
            "version": "1.0",
            "summary": "writes down which hooks are called",
            "status": "ok",
            "missing": [],
        }
    ]
    assert [entry for entry in listed["plugins"] if entry["name"] == "toys"] == [
        {"name": "toys", "distribution": "dp-toys", "version": "1.0", "status": "ok", "cause": "", "note": ""}
    ]
    assert {entry["kind"] for entry in listed["components"]} == {"callback"}


def test_describing_shows_options_and_an_example(toys: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--describe", "policy/net"]) == 0

    assert capsys.readouterr().out == (
        "policy/net: one linear layer\n"
        "provided by dp-toys 1.0 (dp_toys.workspace:Net)\n"
        "\n"
        "options\n"
        "  size  int  4  of the layer\n"
        "\n"
        "example\n"
        "  policy:\n"
        "    name: net\n"
        "    size: 4\n"
    )


def test_describing_for_programs(toys: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--describe", "policies/net", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "kind": "policy",
        "name": "net",
        "qualified_name": "dp-toys/net",
        "distribution": "dp-toys",
        "version": "1.0",
        "summary": "one linear layer",
        "status": "ok",
        "missing": [],
        "target": "dp_toys.workspace:Net",
        "install_command": "",
        "options": [{"name": "size", "type": "int", "required": False, "default": 4, "help": "of the layer"}],
        "example": "policy:\n  name: net\n  size: 4\n",
    }


def test_defaults_for_programs_are_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing where one is required, of options in blocks as well; what has no type in JSON is text."""
    assert main(["--describe", "workspace/train", "--json"]) == 0

    options = {option["name"]: option for option in json.loads(capsys.readouterr().out)["options"]}
    assert (options["policy"]["required"], options["policy"]["default"]) == (True, None)
    assert (options["output_dir"]["required"], options["output_dir"]["default"]) == (False, None)
    assert options["dataloader.batch_size"]["default"] == options["dataloader"]["default"]["batch_size"] == 64


def other_provider(toys: Registry) -> Registry:
    net = toys.resolve("policy", "net")
    again = Component(
        kind="policy",
        name="net",
        target="a:B",
        config=net.config,
        summary="another",
        requires=("open3d_x",),
        extra="net",
        distribution="dp-x",
        version="2.0",
    )
    broken = PluginRecord("depth", "dp-depth", "0.3.1", "broken", cause="ValueError: x", traceback="Traceback ...\n")
    return Registry([*toys.plugins, PluginRecord("x", "dp-x", "2.0", "ok", (again,)), broken])


def test_the_list_names_providers_missing_packages_and_broken_plugins(toys: Registry) -> None:
    assert list_text(other_provider(toys), None, verbose=False) == (
        "workspaces\n"
        "  toy  dp-toys 1.0  a network that is changed by hand\n"
        "\n"
        "policies\n"
        "  dp-toys/net  dp-toys 1.0  one linear layer\n"
        "  dp-x/net     dp-x 2.0     needs open3d_x -- pip install 'dp-x[net]'\n"
        "\n"
        "callbacks\n"
        "  note  dp-toys 1.0  writes down which hooks are called\n"
        "\n"
        "names that several packages offer\n"
        "  policy 'net' is provided by 2 packages; write 'dp-toys/net' or 'dp-x/net'\n"
        "\n"
        "plugins not in use (-v for the traceback)\n"
        "  depth  dp-depth 0.3.1  broken: ValueError: x"
    )


def test_the_verbose_list_has_tracebacks_and_whom_to_ask(toys: Registry) -> None:
    text = list_text(other_provider(toys), "policy", verbose=True)

    assert text.endswith("\n\ndepth: contact the authors of dp-depth\nTraceback ...")
    assert "callbacks" not in text


def test_tracebacks_of_an_editable_install_are_for_its_author(toys: Registry) -> None:
    own = PluginRecord("depth", "dp-depth", "0.1", "broken", cause="x", traceback="Traceback ...\n", is_editable=True)

    assert list_text(Registry([own]), None, verbose=True).endswith("\n\ndepth:\nTraceback ...")


def test_the_kind_may_come_after_another_option(toys: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert [main(["--list", "-v", "callback"]), main(["--list", "callback", "-v"])] == [0, 0]

    printed = capsys.readouterr().out
    assert printed.startswith("callbacks\n")
    assert "encoders\n" not in printed


@pytest.mark.parametrize("kind", KINDS)
def test_the_plural_of_a_kind_is_the_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As the list writes it, too."""
    assert main(["--list", kind]) == 0
    listed = capsys.readouterr().out

    for text in (f"{kind}s", listed.partition("\n")[0]):
        assert main(["--list", text]) == 0
        assert capsys.readouterr().out == listed


def test_a_kind_without_components_is_said_to_be_empty(toys: Registry) -> None:
    assert list_text(toys, "runner", verbose=False) == "no runner is installed"
    assert list_text(Registry([]), None, verbose=False) == (
        "no plugins found: dp-core is not installed here; run `pip install -e .` in its folder"
    )


def test_describing_needs_a_kind_and_a_name(toys: Registry) -> None:
    with pytest.raises(PluginError) as caught:
        describe_text(toys, "net")

    assert str(caught.value) == (
        "'net' is not KIND/NAME, such as encoder/timm; the kinds are workspace, policy, encoder, denoiser, scheduler, "
        "modality, dataset, runner, optimizer, lr_schedule, callback"
    )


# -- checking ---------------------------------------------------------------------------------------------------------


def test_checking_runs_nothing(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--check"]) == 0

    assert capsys.readouterr().out == f"{config}: ok\n"
    assert not (tmp_path / "run").exists()


def test_the_printed_config_is_complete(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--print-config", "policy.size=5"]) == 0

    assert capsys.readouterr().out == (
        "workspace: dp-toys/toy\n"
        "run_name: toy\n"
        "required_plugins: []\n"
        f"output_dir: {tmp_path}/run\n"
        "callbacks: {}\n"
        "policy:\n"
        "  name: dp-toys/net\n"
        "  size: 5\n"
        "shape_meta: {}\n"
    )


def test_a_mistake_ends_with_status_2_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("workspace: train\nhorizn: 3\n")

    done = dp_run(str(path), "polcy=diffusion")

    assert done.returncode == 2
    assert done.stdout == "imported ['omegaconf']\n"
    assert done.stderr == (
        f"dp-run: error: {path} has 6 problems\n"
        "  horizn: unknown option; did you mean 'horizon'?\n"
        "  polcy: unknown option; did you mean 'policy'? (from the command line)\n"
        "  shape_meta: required, but missing\n"
        "  policy: required, but missing\n"
        "  dataset: required, but missing\n"
        "  training: required, but missing\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which config? try: dp-run quickstart, or dp-run --list configs"),
        (["gone.yaml"], "gone.yaml has 1 problem\n  no such file"),
        (
            ["--list", "camera"],
            "--list: unknown kind 'camera'; the kinds are workspace, policy, encoder, denoiser, scheduler, "
            "modality, dataset, runner, optimizer, lr_schedule, callback, and there are configs",
        ),
        (["--list", "encodr"], "--list: unknown kind 'encodr'; did you mean 'encoder'?"),
        (["--list", "config"], "--list: unknown kind 'config'; did you mean 'configs'?"),
        (["--list", "encoder", "policy"], "--list shows one KIND; leave out 'policy'"),
        (["--resume", "gone"], "gone has 1 problem\n  not a run directory: there is no config.resolved.yaml in it"),
        (
            ["--resume", "gone", "quickstart", "seed=1"],
            "--resume continues with the config of the run; leave out 'quickstart'",
        ),
        (["--describe", "encoder/timm", "policy/net"], "--describe shows one KIND/NAME; leave out 'policy/net'"),
        (["--describe", ""], f"'' is not KIND/NAME, such as encoder/timm; the kinds are {', '.join(KINDS)}"),
        (["quickstart", "--check", "--json"], "--json goes with --list or --describe; leave it out"),
        (["quickstart", "-v"], "--verbose goes with --list; leave it out"),
        (["--list", "configs", "-v"], "--verbose shows what is wrong with plugins; leave it out with '--list configs'"),
        (["quickstart", "--trust-pickles"], "--trust-pickles goes with --resume; leave it out"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2

    assert capsys.readouterr().err.endswith(f"dp-run: error: {message}\n")


def test_the_list_of_data_commands_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert dp_data(["--list", "download"]) == 2

    assert capsys.readouterr().err == "dp-data: error: --list shows all commands; leave out 'download'\n"


def test_the_traceback_is_shown_to_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.yaml", "--traceback"]) == 2

    found = capsys.readouterr().err
    assert found.startswith("Traceback (most recent call last):\n")
    assert found.endswith("dp-run: error: gone.yaml has 1 problem\n  no such file\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    """`dp-run --list | head` closes the pipe before everything is written."""
    command = [sys.executable, "-c", "import sys; from dp_core.cli.run import main; sys.exit(main(['--list']))"]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(write)

    assert (done.returncode, done.stderr) == (0, "")


# -- running ----------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_config_and_says_what_to_type_next(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(config)]) == 0

    run = tmp_path / "run"
    assert capsys.readouterr().out == (
        f"run directory: {run}\n"
        "\n"
        f"done: {run}\n"
        f"last checkpoint: {run}/checkpoints/latest.ckpt\n"
        f"next: dp-eval {run}/checkpoints/latest.ckpt --episodes 100\n"
    )
    assert (run / "config.resolved.yaml").read_text().startswith("workspace: dp-toys/toy\n")


def test_a_run_does_not_overwrite_another(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(config)])

    assert main([str(config)]) == 2
    assert capsys.readouterr().err == (
        f"dp-run: error: {tmp_path}/run holds a run already; continue it with `dp-run --resume {tmp_path}/run`, "
        "or choose another output_dir\n"
    )


def test_a_run_goes_on_from_its_checkpoint(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(config)])

    assert main(["--resume", str(tmp_path / "run"), "run_name=again"]) == 0
    assert f"resuming {tmp_path}/run from checkpoints/latest.ckpt\n" in capsys.readouterr().out
    assert "run_name: again\n" in (tmp_path / "run" / "config.resolved.yaml").read_text()


def test_what_a_kill_left_half_written_is_removed_when_the_run_goes_on(config: Path, tmp_path: Path) -> None:
    main([str(config)])
    old, new = (tmp_path / "run" / "checkpoints" / f".latest.ckpt.{name}.part" for name in ("0123abcd", "4567abcd"))
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))

    main(["--resume", str(tmp_path / "run")])

    assert sorted(path.name for path in old.parent.iterdir()) == [new.name, "latest.ckpt"], "somebody may be writing"


def test_a_run_without_a_checkpoint_starts_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(config)])
    (tmp_path / "run" / "checkpoints" / "latest.ckpt").unlink()

    assert main(["--resume", str(tmp_path / "run")]) == 0
    assert f"{tmp_path}/run has no checkpoint yet; starting from the beginning\n" in capsys.readouterr().out


def test_a_traced_run_shows_each_hook_and_who_listens(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DP_TRACE_PLUGINS", "1")

    assert main([str(config), "callbacks={first: note, second: note}"]) == 0
    traced = [line for line in capsys.readouterr().err.splitlines() if line.startswith("trace: hook")]
    assert traced[0] == "trace: hook dp_run: _OwnLoop 'own loop'"
    assert "trace: hook dp_after_run: Note 'first', Note 'second'" in traced
