"""The life of a workspace: what it saves, what it restores, in which order its callbacks hear of it."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import dill
import pytest
import torch

from dp_core import Component, Slot, hookimpl
from dp_core.checkpoint import read_payload, upgrade_payload, write_payload
from dp_core.config.schema import WorkspaceConfig
from dp_core.errors import CheckpointError, ComponentError, ConfigError, PluginError, UnsoundStateError
from dp_core.interfaces import BaseCallback
from dp_core.registry import Registry
from dp_core.workspace import BaseWorkspace

MakeWorkspace = Callable[..., Any]


def weights(workspace: Any) -> torch.Tensor:
    return workspace.model.layer.weight.detach()


# -- saving -----------------------------------------------------------------------------------------------------------


def test_everything_with_a_state_is_saved(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.train_step()

    payload = read_payload(workspace.save_checkpoint(use_thread=False))

    assert payload["state_dicts"].keys() == {"model", "optimizer", "counter"}
    assert payload["state_dicts"]["counter"] == {"count": 1}
    assert payload["pickles"].keys() == {"best"}
    assert payload["cfg"]["policy"] == {"name": "dp-toys/net", "size": 4}
    assert payload["callbacks"] == {}


def test_checkpoints_are_named_by_tag_or_path(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace = make_workspace()

    assert workspace.save_checkpoint(use_thread=False) == str(tmp_path / "run/checkpoints/latest.ckpt")
    assert workspace.save_checkpoint(tag="best", use_thread=False) == str(tmp_path / "run/checkpoints/best.ckpt")
    assert workspace.save_checkpoint(tmp_path / "x.ckpt", use_thread=False) == str(tmp_path / "x.ckpt")
    assert (tmp_path / "x.ckpt").is_file()


def test_a_first_checkpoint_that_is_being_written_is_waited_for_before_it_is_described(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    workspace, is_let_go = make_workspace(), threading.Event()
    workspace._writer._executor.submit(is_let_go.wait)
    workspace.save_checkpoint()
    threading.Timer(0.2, is_let_go.set).start()

    assert workspace.describe_checkpoint() == f"the last checkpoint is {tmp_path}/run/checkpoints/latest.ckpt"


def test_what_is_saved_in_the_background_is_the_state_at_the_call(make_workspace: MakeWorkspace) -> None:
    """On the CPU a state dict holds the live tensors themselves, which continue to be trained."""
    workspace = make_workspace()
    workspace.train_step()
    before = weights(workspace).clone()

    path = workspace.save_checkpoint()
    for _ in range(3):
        workspace.train_step()
    with torch.no_grad():
        workspace.model.layer.weight.zero_()
    workspace.close()

    states = read_payload(path)["state_dicts"]
    assert torch.equal(states["model"]["layer.weight"], before)
    assert states["optimizer"]["state"][0]["step"] == 1
    assert states["counter"] == {"count": 1}


@pytest.mark.parametrize(
    ("arguments", "states", "pickles"),
    [
        ({"exclude_keys": ("optimizer",)}, {"model", "counter", "scratch"}, {"best"}),
        ({"include_keys": ()}, {"model", "optimizer", "counter"}, set()),
        ({"include_keys": ("best", "output_dir")}, {"model", "optimizer", "counter"}, {"best", "output_dir"}),
    ],
)
def test_keys_given_to_save_replace_those_of_the_class(
    make_workspace: MakeWorkspace, arguments: dict[str, Any], states: set[str], pickles: set[str]
) -> None:
    payload = read_payload(make_workspace().save_checkpoint(use_thread=False, **arguments))

    assert (payload["state_dicts"].keys(), payload["pickles"].keys()) == (states, pickles)


def test_a_file_that_cannot_be_written_stops_the_next_save(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace = make_workspace()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").touch()
    workspace.save_checkpoint()

    with pytest.raises(CheckpointError, match=r"latest\.ckpt: cannot be written: "):
        workspace.save_checkpoint()
    with pytest.raises(CheckpointError, match=r"latest\.ckpt: cannot be written: "):
        workspace.save_checkpoint(use_thread=False)


# -- what is not finite -----------------------------------------------------------------------------------------------


def diverge(workspace: Any) -> None:
    workspace.train_step()
    with torch.no_grad():
        workspace.model.layer.weight[0, 0] = float("nan")


def test_weights_that_are_not_finite_leave_the_last_checkpoint_as_it_is(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    workspace = make_workspace(callbacks={"first": "note"})
    path = Path(workspace.save_checkpoint(use_thread=False, include_keys=()))
    before = path.read_bytes()
    notes = list(workspace.callbacks["first"].notes)
    diverge(workspace)

    for use_thread in (True, False):
        with pytest.raises(UnsoundStateError) as caught:
            workspace.save_checkpoint(use_thread=use_thread, include_keys=())

    assert str(caught.value) == (
        "the state is not saved, since it is not finite: model (1 of 2 tensors, first 'layer.weight'); the last "
        f"checkpoint is {path}; continue from it with a lower learning rate: dp-run --resume {tmp_path}/run"
    )
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["latest.ckpt"]
    assert workspace.callbacks["first"].notes == notes, "nothing was decided for a file that is not written"


def test_a_snapshot_is_not_replaced_either(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = Path(workspace.save_snapshot())
    before = path.read_bytes()
    diverge(workspace)

    with pytest.raises(UnsoundStateError) as caught:
        workspace.save_snapshot()

    assert str(caught.value) == (
        "the state is not saved, since it is not finite: model (1 of 2 tensors, first 'layer.weight'); there is no "
        "checkpoint yet; start again with a lower learning rate"
    )
    assert path.read_bytes() == before


def test_what_is_left_out_may_be_anything(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    diverge(workspace)

    payload = read_payload(workspace.save_checkpoint(use_thread=False, exclude_keys=("model",)))

    assert "model" not in payload["state_dicts"]


def test_a_run_does_not_start_from_a_checkpoint_that_is_not_finite(
    make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    workspace = make_workspace()
    path = tmp_path / "old.ckpt"
    payload = read_payload(workspace.save_checkpoint(use_thread=False, include_keys=()))
    payload["state_dicts"]["model"]["layer.bias"][:] = float("inf")
    write_payload(path, payload)

    workspace.load_checkpoint(path)
    with pytest.raises(UnsoundStateError) as caught:
        workspace.run()

    assert str(caught.value) == (
        f"{path}: the state is not finite: model (1 of 2 tensors, first 'layer.bias'); a run cannot start from it, "
        "take another checkpoint or start again, with a lower learning rate"
    )
    assert workspace.counter.count == 0


# -- restoring --------------------------------------------------------------------------------------------------------


def test_a_checkpoint_restores_everything(make_workspace: MakeWorkspace) -> None:
    workspace, other = make_workspace(), make_workspace()
    workspace.train_step()
    workspace.save_checkpoint(use_thread=False, include_keys=())

    other.load_checkpoint()
    workspace.train_step()
    other.train_step()

    assert torch.equal(weights(other), weights(workspace))
    assert other.counter.count == 2


def test_loading_waits_for_the_file_that_is_being_written(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.save_checkpoint(include_keys=())
    workspace.train_step()

    workspace.load_checkpoint()

    assert workspace.counter.count == 0


def test_excluded_states_stay_as_they_are(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = workspace.save_checkpoint(use_thread=False, include_keys=())
    workspace.train_step()

    workspace.load_checkpoint(path, exclude_keys=("counter",))

    assert workspace.counter.count == 1


def test_pickles_are_only_opened_for_who_trusts_the_file(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = workspace.save_checkpoint(use_thread=False)
    workspace.best = [9.0]
    workspace.train_step()

    with pytest.raises(CheckpointError) as caught:
        workspace.load_checkpoint(path)
    assert str(caught.value) == (
        "the values 'best' are pickled, which can run any code; "
        "pass trust_pickles=True if you trust the file, or include_keys=() to go without"
    )
    assert workspace.counter.count == 1, "refused before anything was restored"

    workspace.load_checkpoint(path, include_keys=())
    assert (workspace.best, workspace.counter.count) == ([9.0], 0)
    workspace.load_checkpoint(path, trust_pickles=True)
    assert workspace.best == [0.5]


def test_a_pickle_that_is_not_there(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = workspace.save_checkpoint(use_thread=False)

    with pytest.raises(CheckpointError) as caught:
        workspace.load_checkpoint(path, include_keys=("worst",), trust_pickles=True)

    assert str(caught.value) == "the checkpoint has no value 'worst'; it has best"


def test_a_state_that_does_not_fit_says_which(make_workspace: MakeWorkspace) -> None:
    path = make_workspace().save_checkpoint(use_thread=False, include_keys=())

    with pytest.raises(CheckpointError) as caught:
        make_workspace(policy={"name": "net", "size": 5}).load_checkpoint(path)

    assert str(caught.value) == (
        "the state of 'model' does not fit this config: 'layer.weight' has shape (1, 4), here (1, 5); "
        "leave out what changes it"
    )


def test_loading_can_be_lenient_with_modules(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    payload = read_payload(workspace.save_checkpoint(use_thread=False, include_keys=()))
    del payload["state_dicts"]["model"]["layer.bias"]

    with pytest.raises(CheckpointError, match=r"'layer\.bias' is missing"):
        workspace.load_payload(payload)
    workspace.load_payload(payload, strict=False)


def less(state: dict[str, Any], from_version: str) -> dict[str, Any]:
    """Version 1.0 knew weights by another name."""
    return {name.replace("former", "weight"): value for name, value in state.items()}


def less_counted(states: dict[str, Any], from_version: str) -> dict[str, Any]:
    return {**states, "counter": {"count": states["counter"]["n"]}}


def heard_twice(state: dict[str, Any], from_version: str) -> dict[str, Any]:
    return {"notes": state["notes"] * 2}


def sooner(state: dict[str, Any], from_version: str) -> dict[str, Any]:
    groups = [group | {"lr": group["learning_rate"]} for group in state["param_groups"]]
    return {**state, "param_groups": groups}


def in_version_2(cfg: Any) -> Any:
    """The config of a workspace, as if its parts were those of the next version of the distribution."""

    def upgraded(component: Component, function: str) -> Component:
        return attrs.evolve(component, version="2.0", upgrade_state=f"{__name__}:{function}")

    note = Slot(upgraded(cfg.callbacks["first"].component, "heard_twice"), cfg.callbacks["first"].config)
    return attrs.evolve(
        cfg,
        workspace=upgraded(cfg.workspace, "less_counted"),
        policy=Slot(upgraded(cfg.policy.component, "less"), cfg.policy.config),
        callbacks={"first": note},
    )


def test_states_of_an_earlier_version_are_upgraded_at_any_depth_and_in_copies(
    make_workspace: MakeWorkspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former = make_workspace(callbacks={"first": "note"})
    payload = read_payload(former.save_checkpoint(use_thread=False, include_keys=()))
    weight = weights(former)
    states, bias = payload["state_dicts"], payload["state_dicts"]["model"]["layer.bias"]
    former_names = {"layer.former": weight, "layer.bias": bias}
    states["model"] = former_names
    states["average"] = {f"inside.0.{name}": value for name, value in former_names.items()}
    states["counter"] = {"n": 7}
    payload["callbacks"]["first"] = {"notes": ["once"]}
    cfg = in_version_2(former.cfg)
    workspace = cfg.workspace.load()(cfg, output_dir=tmp_path / "next")
    workspace.average = torch.nn.ModuleDict({"inside": torch.nn.ModuleList([copy.deepcopy(workspace.model)])})
    caplog.set_level(logging.INFO)
    write_payload(tmp_path / "x.ckpt", payload)

    read = workspace.load_checkpoint(tmp_path / "x.ckpt")

    assert torch.equal(weights(workspace), weight)
    assert torch.equal(workspace.average["inside"][0].layer.weight, weight)
    assert workspace.counter.count == 7
    assert workspace.callbacks["first"].notes == ["once", "once", "loaded"]
    assert read["manifest"]["distributions"]["dp-toys"] == "2.0"
    assert caplog.messages == [
        f"{tmp_path / 'x.ckpt'}: {line} (dp-toys 1.0 -> 2.0)"
        for line in (
            "state_dicts: state upgraded: 0 gone, 0 new, 1 changed",
            "model: state upgraded: 1 gone, 1 new, 0 changed",
            "average.inside.0: state upgraded: 1 gone, 1 new, 0 changed",
            "callbacks.first: state upgraded: 0 gone, 0 new, 1 changed",
        )
    ]


def test_a_part_without_modules_is_upgraded_by_the_component_in_its_place_of_the_config(
    make_workspace: MakeWorkspace,
) -> None:
    """The optimizer, say, or the schedule of the learning rate, which is made later."""
    former = make_workspace()
    payload = read_payload(former.save_checkpoint(use_thread=False, include_keys=()))
    component = attrs.evolve(former.cfg.policy.component, version="2.0", upgrade_state=f"{__name__}:sooner")
    cfg = attrs.evolve(former.cfg, policy=Slot(component, former.cfg.policy.config))
    payload["state_dicts"] = {"policy": {"param_groups": [{"learning_rate": 0.5}]}}

    read = upgrade_payload(payload, cfg, {}, "x.ckpt")

    assert read["state_dicts"]["policy"]["param_groups"] == [{"learning_rate": 0.5, "lr": 0.5}]


def test_a_state_for_what_the_config_leaves_out(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    payload = read_payload(workspace.save_checkpoint(use_thread=False, include_keys=()))
    payload["state_dicts"]["absent"] = {"count": 1}

    with pytest.raises(CheckpointError) as caught:
        workspace.load_payload(payload)

    assert str(caught.value) == (
        "the checkpoint has a state for 'absent', which this config leaves out; keep what the run had"
    )
    workspace.load_payload(payload, exclude_keys=("absent",))


def test_what_the_checkpoint_lacks_is_named(make_workspace: MakeWorkspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace = make_workspace()
    payload = read_payload(workspace.save_checkpoint(use_thread=False, include_keys=()))
    workspace.load_payload(payload)
    assert caplog.messages == []

    workspace.extra = workspace.counter
    workspace.load_payload(payload)

    assert caplog.messages == ["the checkpoint has no state for 'extra', which stays as it is"]


def test_what_is_made_later_is_restored_when_it_is_there(make_workspace: MakeWorkspace) -> None:
    workspace, other, third = make_workspace(), make_workspace(), make_workspace()
    workspace.run()
    workspace.late.count = 7
    workspace.save_checkpoint(use_thread=False, include_keys=())

    other.load_checkpoint()
    other.save_checkpoint(use_thread=False, include_keys=())
    third.load_checkpoint()
    third.run()

    assert third.late.count == 7, "also through a save before it was there"


# -- from a file alone ------------------------------------------------------------------------------------------------


def test_a_workspace_is_made_from_a_checkpoint_alone(
    make_workspace: MakeWorkspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make_workspace(policy={"name": "net", "size": 6})
    workspace.train_step()
    payload = read_payload(workspace.save_checkpoint(use_thread=False, include_keys=()))
    payload["manifest"]["distributions"]["dp-toys"] = "0.9"
    write_payload(tmp_path / "moved.ckpt", payload)

    other = BaseWorkspace.create_from_checkpoint(tmp_path / "moved.ckpt", output_dir=tmp_path / "new")

    assert type(other) is type(workspace)
    assert torch.equal(weights(other), weights(workspace))
    assert other.output_dir == tmp_path / "new"
    assert caplog.messages == [
        f"{tmp_path}/moved.ckpt: made with other versions than are installed here\n"
        "  dp-toys 1.0 is installed; made with 0.9"
    ]


def test_a_checkpoint_of_another_workspace_is_refused(make_workspace: MakeWorkspace) -> None:
    class Other(BaseWorkspace):
        def loop(self) -> None: ...

    path = make_workspace().save_checkpoint(use_thread=False)

    with pytest.raises(CheckpointError) as caught:
        Other.create_from_checkpoint(path)

    assert str(caught.value) == f"{path}: was written by 'dp-toys/toy', not by Other"


def test_a_snapshot_is_the_whole_workspace(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    workspace = make_workspace(callbacks={"first": "note"})
    workspace.train_step()
    workspace.scratch.count = 5

    path = workspace.save_snapshot()
    other = type(workspace).create_from_snapshot(path)
    other.train_step()
    other.save_checkpoint(use_thread=False)

    assert path == str(tmp_path / "run/snapshots/latest.pkl")
    assert (other.scratch.count, other.counter.count, other.best) == (5, 2, [0.5])
    assert other.callbacks["first"].notes[-1] == "after latest.ckpt True"


def test_a_snapshot_of_something_else_is_refused(make_workspace: MakeWorkspace, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(dill.dumps([1]))

    with pytest.raises(CheckpointError) as caught:
        type(make_workspace()).create_from_snapshot(tmp_path / "x.pkl")

    assert str(caught.value) == f"{tmp_path}/x.pkl: holds a list, not a ToyWorkspace"


# -- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_hear_of_checkpoints_and_keep_their_state(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(callbacks={"first": "note"})
    workspace.save_checkpoint(metrics={"score": 1}, include_keys=())
    workspace.close()
    before = "before ['counter', 'model', 'optimizer'] {'score': 1}"
    assert workspace.callbacks["first"].notes == [before, "after latest.ckpt True"]

    other = make_workspace(callbacks={"first": "note", "second": "note"})
    other.load_checkpoint()

    assert other.callbacks["first"].notes == [before, "loaded"]
    assert other.callbacks["second"].notes == ["loaded"]


class Written(BaseCallback):
    """Writes its name to a list that several share."""

    def __init__(self, name: str, shared: list[str]) -> None:
        self.name, self.shared = name, shared

    @hookimpl
    def dp_after_run(self) -> None:
        self.shared.append(self.name)


class Replacing(BaseCallback):
    @hookimpl
    def dp_run(self) -> bool:
        return True


class Wrapping(BaseCallback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl(wrapper=True)
    def dp_run(self) -> Any:
        try:
            return (yield)
        except RuntimeError as error:
            self.seen.append(str(error))
            raise


class Small(BaseWorkspace):
    """Runs whatever it is given, with callbacks that are there already."""

    def __init__(self, folder: Path, callbacks: dict[str, BaseCallback], loop: Callable[[], object] = list) -> None:
        component = Component(
            kind="workspace", name="small", target="a:B", config=WorkspaceConfig, summary="", distribution="dp-toys"
        )
        slots = {key: Slot(_Ready(callback), None, f"callbacks.{key}") for key, callback in callbacks.items()}
        super().__init__(WorkspaceConfig(workspace=component, callbacks=slots), folder)
        self.work = loop

    def loop(self) -> None:
        self.work()


class _Ready:
    """Stands where a config has a component, and gives what is there already."""

    label, distribution, version = "callback 'ready'", "dp-toys", "1.0"

    def __init__(self, callback: BaseCallback) -> None:
        self.callback = callback

    def load(self) -> Any:
        return lambda config: self.callback


def test_callbacks_are_called_in_the_order_of_the_config(tmp_path: Path) -> None:
    shared: list[str] = []

    Small(tmp_path, {name: Written(name, shared) for name in ("c", "a", "b")}).run()

    assert shared == ["c", "a", "b"]


def test_a_callback_may_replace_the_loop(tmp_path: Path) -> None:
    done: list[int] = []

    Small(tmp_path, {"skip": Replacing()}, lambda: done.append(1)).run()

    assert done == []


def fail() -> None:
    raise RuntimeError("in the loop")


def test_a_callback_may_wrap_the_loop(tmp_path: Path) -> None:
    wrapping = Wrapping()

    with pytest.raises(ComponentError, match="workspace 'small' of dp-toys raised RuntimeError: in the loop"):
        Small(tmp_path, {"wrap": wrapping}, fail).run()

    assert wrapping.seen == ["in the loop"]


def test_an_error_is_announced_and_what_is_being_written_finished(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(callbacks={"first": "note"})
    workspace.train_step = lambda: (workspace.save_checkpoint(include_keys=()), fail())

    with pytest.raises(ComponentError) as caught:
        workspace.run()

    text = "workspace: workspace 'toy' of dp-toys 1.0 raised RuntimeError: in the loop"
    assert str(caught.value) == text
    assert f'error ComponentError("{text}")' in workspace.callbacks["first"].notes
    assert workspace.get_checkpoint_path().is_file()
    assert "done" not in workspace.callbacks["first"].notes


def test_the_first_of_several_requests_to_stop_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    workspace = Small(tmp_path, {}, lambda: (workspace.request_stop("enough"), workspace.request_stop("too late")))

    workspace.run()

    assert workspace.stop_reason == "enough"
    assert workspace.summary() == ["stopped: enough"]
    assert caplog.messages == ["the run ends after this epoch: enough"]


def test_a_run_that_is_started_again_has_no_reason_to_stop(tmp_path: Path) -> None:
    workspace = Small(tmp_path, {}, lambda: reasons.append(workspace.stop_reason))
    reasons: list[str | None] = []
    workspace.request_stop("enough")  # as a callback may when a checkpoint is loaded

    workspace.run()
    workspace.run()

    assert reasons == ["enough", None]


class Hopeless(BaseCallback):
    """Raises while a run is ended."""

    @hookimpl
    def dp_on_run_error(self) -> None:
        raise OSError(28, "No space left on device")


class Unclosable(Small):
    def close(self) -> None:
        super().close()
        raise RuntimeError("the simulator does not answer")


@pytest.mark.parametrize("reason", [RuntimeError("in the loop"), KeyboardInterrupt()])
def test_what_fails_while_a_run_is_ended_does_not_hide_why_it_ends(
    reason: BaseException, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise reason

    with pytest.raises((ComponentError, KeyboardInterrupt)) as caught:
        Unclosable(tmp_path, {"hopeless": Hopeless()}, fail).run()

    assert reason in (caught.value, caught.value.__cause__)
    assert caplog.messages == [
        "besides, ComponentError: callbacks.hopeless: callback 'ready' of dp-toys 1.0 raised OSError: [Errno 28] No "
        "space left on device",
        "besides, RuntimeError: the simulator does not answer",
    ]


class Placed(Small):
    def position(self) -> str:
        return "epoch 3"


def test_a_problem_that_came_after_the_file_was_written_leaves_the_state_saved(tmp_path: Path) -> None:
    workspace = Placed(tmp_path, {})
    problem = "the state is not saved: no answer from the server"
    before = workspace.how_to_continue(problem)
    workspace.save_checkpoint()

    assert before == f"{problem}; there is no checkpoint yet. Continue with: dp-run --resume {tmp_path}"
    assert workspace.how_to_continue(problem) == f"the state is saved. Continue with: dp-run --resume {tmp_path}"


class Misspelt(BaseCallback):
    @hookimpl
    def dp_after_epoc(self) -> None: ...


class Unmarked(BaseCallback):
    def dp_after_epoch(self) -> None: ...


class Curious(BaseCallback):
    @hookimpl
    def dp_after_epoch(self, loss: float) -> None: ...


class Defaulting(BaseCallback):
    @hookimpl
    def dp_after_epoch(self, metrics: Any = None) -> None: ...


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (Misspelt(), "callbacks.mine: unknown hook 'dp_after_epoc'; did you mean 'dp_after_epoch'?"),
        (Unmarked(), "callbacks.mine: hook 'dp_after_epoch' lacks @hookimpl"),
        (
            Curious(),
            "callbacks.mine: hook 'dp_after_epoch' has no argument 'loss'; its arguments are: 'workspace', 'metrics'",
        ),
        (Defaulting(), "callbacks.mine: argument 'metrics' of hook 'dp_after_epoch' must not have a default"),
    ],
)
def test_a_hook_that_would_never_be_called_is_an_error(tmp_path: Path, callback: BaseCallback, message: str) -> None:
    with pytest.raises(PluginError) as caught:
        Small(tmp_path, {"mine": callback})

    assert str(caught.value) == message


class Asking(BaseCallback):
    """Reads a part of the workspace in one hook that it does not declare, as its author has seen in `train`."""

    def __init__(self, part: str = "progress", of: Any = None) -> None:
        self.part, self.of = part, of

    @hookimpl
    def dp_after_run(self, workspace: Any) -> None:
        getattr(self.of or workspace, self.part)


@pytest.mark.parametrize("part", ["progress", "optimizer"])
def test_what_a_callback_asks_of_the_workspace_in_vain_is_said_with_its_name(tmp_path: Path, part: str) -> None:
    with pytest.raises(PluginError) as caught:
        Small(tmp_path, {"first": Replacing(), "mine": Asking(part)}).run()

    assert str(caught.value) == (
        f"callbacks.mine: asked for '{part}' of the workspace, which workspace 'small' does not have; leave the "
        "callback out or use another workspace; for authors of the callback: dp_core.interfaces.workspace says what it "
        "may rely on, and how it declares what it needs"
    )


def test_what_a_callback_asks_of_something_else_in_vain_is_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(ComponentError) as caught:
        Small(tmp_path, {"mine": Asking(of=3)}).run()

    assert str(caught.value) == (
        "callbacks.mine: callback 'ready' of dp-toys 1.0 raised AttributeError: 'int' object has no attribute "
        "'progress'"
    )


# -- where ------------------------------------------------------------------------------------------------------------


def test_a_run_directory_has_a_date_and_a_name_unless_one_is_given(
    make_workspace: MakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = make_workspace(run_name="push", output_dir="there")
    workspace._output_dir = None
    assert workspace.output_dir == Path("there")

    workspace = make_workspace(run_name="push")
    workspace._output_dir = None
    assert workspace.output_dir.match("runs/????-??-??_??-??-??_push")
    assert workspace.output_dir is workspace.output_dir
    assert not Path("there").exists(), "a directory that was given is made with what is written into it"


def test_runs_that_start_in_the_same_second_get_a_directory_each(
    make_workspace: MakeWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspaces = [make_workspace(run_name="push") for _ in range(20)]  # within two seconds, that is
    for workspace in workspaces:
        workspace._output_dir = None

    with ThreadPoolExecutor(max_workers=20) as pool:
        folders = list(pool.map(lambda workspace: workspace.output_dir, workspaces))

    assert len(set(folders)) == len(folders) == len(list(Path("runs").iterdir()))
    assert any(folder.name.endswith("_push_2") for folder in folders)


@pytest.mark.parametrize("name", ["../../../escaped", "sweep/1", "", "x" * 201, "a\0b"])
def test_the_name_of_a_run_is_part_of_a_file_name(make_workspace: MakeWorkspace, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_workspace(run_name=name)

    assert str(caught.value) == (
        "toy.yaml has 1 problem\n  run_name: expected a part of a file name, without '/' and of 1 to 200 bytes, got "
        f"{name!r}; the folder of a run is set by output_dir"
    )


def test_the_toys_are_discovered_like_every_plugin(toys: Registry) -> None:
    assert {"dp-toys/toy", "dp-core/train"} <= {c.qualified_name for c in Registry.discover().components("workspace")}
