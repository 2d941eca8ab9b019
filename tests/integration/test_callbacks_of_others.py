"""Callbacks and workspaces that do not know of each other: what does not fit is said by name, as early as it is known.

`OLD_WORKSPACE` and `OLD_CALLBACK` are the examples of the documentation from before there was anything to declare.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dp_core.cli.run import main as dp_run
from dp_core.testing.fakes import installed, write_distribution

OLD_WORKSPACE = {
    "plugin.py": """
import attrs
from dp_core import Component, Slot, hookimpl, option, slot
from dp_core.config.schema import WorkspaceConfig

DP_API = 1


@attrs.frozen(kw_only=True)
class Options(WorkspaceConfig):
    shape_meta: dict = option(help="what the task observes and does")
    policy: Slot = slot("policy", help="what is trained")
    dataset: Slot = slot("dataset", help="demonstrations")


@hookimpl
def dp_components():
    yield Component(kind="workspace", name="once", target="dp_once.workspace:Once", config=Options, summary="one pass")
""",
    "workspace.py": """
import torch
from dp_core.workspace import BaseWorkspace


class Once(BaseWorkspace):
    def loop(self):
        dataset = self.cfg.dataset.build(shape_meta=self.cfg.shape_meta)
        self.attach("model", self.cfg.policy.build(shape_meta=self.cfg.shape_meta))
        self.model.set_normalizer(dataset.get_normalizer())
        optimizer = torch.optim.Adam(self.model.parameters())
        for batch in torch.utils.data.DataLoader(dataset, batch_size=64, shuffle=True, collate_fn=dict):
            self.model.compute_loss(batch).backward()
            optimizer.step()
            optimizer.zero_grad()
        self.save_checkpoint()
""",
}
OLD_CALLBACK = {
    "plugin.py": """
import attrs
from dp_core import Component, hookimpl, option

DP_API = 1


@attrs.frozen(kw_only=True)
class Options:
    text: str = option(help="what the next one should know")


@hookimpl
def dp_components():
    yield Component(kind="callback", name="note", target="dp_note.callback:Note", config=Options, summary="for later")
""",
    "callback.py": """
from dp_core import hookimpl
from dp_core.interfaces import BaseCallback


class Note(BaseCallback):
    def __init__(self, config):
        self.text = config.text

    @hookimpl
    def dp_before_checkpoint_save(self, workspace, payload):
        payload["note"] = f"{self.text} (step {workspace.progress.global_step})"
""",
}


@pytest.fixture(autouse=True)
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site-packages")
    write_distribution(folder, "dp-once", "0.1", {"once": OLD_WORKSPACE})
    write_distribution(folder, "dp-note", "0.1", {"note": OLD_CALLBACK})
    with installed(folder):
        yield


@pytest.fixture
def once(tiny_config: Path) -> str:
    """The config of the tiny task for the workspace `once`, without callbacks."""
    kept = ("shape_meta", "dataset", "policy")
    blocks = tiny_config.read_text().split("\n")
    keys = [line.partition(":")[0] for line in blocks]
    lines, key = ["workspace: once"], ""
    for line, name in zip(blocks, keys, strict=True):
        key = name if line[:1].strip() else key
        lines += [line] if key in kept else []
    path = tiny_config.with_name("once.yaml")
    path.write_text("\n".join(lines))
    return str(path)


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert dp_run(arguments) == 2
    return capsys.readouterr().err.partition("dp-run: error: ")[2]


def test_a_workspace_that_declares_nothing_runs_with_what_needs_nothing(once: str, tmp_path: Path) -> None:
    assert dp_run([once, "callbacks={}", f"output_dir={tmp_path}/run"]) == 0


def test_a_callback_that_needs_more_is_refused_and_the_place_to_declare_it_named(
    once: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert error_of(["--check", once, "callbacks={best: topk}"], capsys) == (
        f"{once} has 1 problem\n"
        "  callbacks.best: needs 'progress' of the workspace, which workspace 'once' does not provide; leave the "
        "callback out or use another workspace; for authors of workspace 'once': what it has is named in 'provides' of "
        "Options, see dp_core.interfaces.workspace (from the command line)\n"
    )


def test_a_callback_that_declares_nothing_is_named_when_the_workspace_lacks_what_it_reads(
    once: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [once, "callbacks={mine: {name: note, text: hello}}", f"output_dir={tmp_path}/run"]

    assert error_of(arguments, capsys) == (
        "callbacks.mine: asked for 'progress' of the workspace, which workspace 'once' does not have; leave the "
        "callback out or use another workspace; for authors of the callback: dp_core.interfaces.workspace says what it "
        "may rely on, and how it declares what it needs\n"
    )


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_a_metric_that_a_run_cannot_have_is_refused_before_it(
    tiny_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_config), "callbacks.topk={name: topk, monitor_key: test_mean_score}"]

    assert error_of(["--check", *arguments], capsys) == (
        f"{tiny_config} has 1 problem\n"
        "  callbacks.topk.monitor_key: 'test_mean_score' is not measured with this config, which measures val_loss, "
        "train_loss, train_action_mse_error, lr, epoch, global_step; choose one of them (from the command line)\n"
    )


@pytest.mark.parametrize(("val_ratio", "metric"), [(0.2, "val_loss"), (0, "train_loss")])
def test_a_run_without_a_runner_keeps_what_is_best_in_a_loss(
    val_ratio: float, metric: str, tiny_config: Path, tmp_path: Path
) -> None:
    callbacks = "callbacks={topk: null, best: {name: topk, k: 1}}"
    overrides = [callbacks, f"dataset.val_ratio={val_ratio}", "training.num_epochs=2"]

    assert dp_run([str(tiny_config), *overrides, f"output_dir={tmp_path}/run"]) == 0
    (kept,) = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name != "latest.ckpt"]
    assert kept.partition("-")[2].startswith(f"{metric}=")
