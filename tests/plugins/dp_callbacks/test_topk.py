"""Best checkpoints: the original's decisions and names, and files that are whole at every moment."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest

from dp_callbacks.config import TopKConfig
from dp_callbacks.topk import TopKCheckpointManager
from dp_core.atomic import LONGEST_NAME
from dp_core.config.metrics import ANY
from dp_core.errors import InputError

SEQUENCES = ["max_k2", "min_k3", "max_k1", "max_k0", "max_k2_same_name"]


class Run:
    """Saves checkpoints as a workspace does: decide, write `latest.ckpt` whole, announce."""

    def __init__(self, folder: Path, callback: TopKCheckpointManager, measures: tuple[str, ...] = ANY) -> None:
        self.folder, self.callback = folder, callback
        self.cfg = SimpleNamespace(measures=measures)
        self.progress = SimpleNamespace(epoch=0, global_step=0, windows_in_epoch=0)
        callback.dp_before_run(workspace=self)

    def get_checkpoint_path(self, tag: str) -> Path:
        return self.folder / f"{tag}.ckpt"

    def save(self, content: str = "", **metrics: object) -> None:
        self.decide(**metrics)
        self.write(content)

    def decide(self, **metrics: object) -> None:
        self.callback.dp_before_checkpoint_save(workspace=self, metrics=metrics)

    def write(self, content: str = "") -> None:
        temporary = self.folder / "latest.ckpt.tmp"
        temporary.write_text(content)
        latest = temporary.replace(self.get_checkpoint_path("latest"))
        self.callback.dp_after_checkpoint_save(path=latest)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.name != "latest.ckpt")


def manager(**options: object) -> TopKCheckpointManager:
    return TopKCheckpointManager(TopKConfig(**{"monitor_key": "score", "format_str": "{epoch}.ckpt"} | options))


SIMULATED = ("val_loss", "train_loss", "test/mean_score", "test/sim_max_reward_*")
REAL = ("val_loss", "train_loss")


@pytest.mark.parametrize("name", SEQUENCES)
def test_files_are_those_of_the_original(golden, tmp_path, name) -> None:
    sequence = next(entry for entry in json.loads(golden("h_topk.json").read_text()) if entry["name"] == name)
    run = Run(tmp_path, manager(**sequence["kwargs"]))

    for call in sequence["log"]:
        before = run.files()
        run.save(str(call["epoch"]), epoch=call["epoch"], score=call["score"])
        assert run.files() == call["files_after"]
        assert sorted(set(before) - set(run.files())) == call["deleted"]
        if call["returned"] is not None:
            assert (tmp_path / call["returned"]).read_text() == str(call["epoch"])


def test_nothing_is_written_twice(tmp_path) -> None:
    run = Run(tmp_path, manager())

    run.save(epoch=0, score=1.0)

    assert (tmp_path / "0.ckpt").samefile(tmp_path / "latest.ckpt")


def test_same_checkpoint_saved_again_leaves_no_temporary_file(tmp_path) -> None:
    run = Run(tmp_path, manager())
    run.save(epoch=0, score=1.0)

    run.decide(epoch=0, score=1.0)
    run.callback.dp_after_checkpoint_save(path=tmp_path / "latest.ckpt")

    assert run.files() == ["0.ckpt"]


def test_saving_a_listed_checkpoint_again_displaces_nothing(tmp_path) -> None:
    """Ctrl-C between two epochs saves once more what the end of the epoch has just saved."""
    run = Run(tmp_path, manager(k=2))
    run.save(epoch=0, score=0.1)
    run.save(epoch=1, score=0.9)

    run.save(epoch=1, score=0.9)

    assert run.files() == ["0.ckpt", "1.ckpt"]
    assert run.callback.best == {"0.ckpt": 0.1, "1.ckpt": 0.9}


def test_a_worse_checkpoint_never_takes_the_file_of_a_better_one(tmp_path) -> None:
    """Metrics are rounded in names, so that two checkpoints may have the same."""
    run = Run(tmp_path, TopKCheckpointManager(TopKConfig(monitor_key="score", format_str="{score:.1f}.ckpt")))
    run.save("first", epoch=0, score=0.52)

    run.save("worse", epoch=1, score=0.51)
    assert (tmp_path / "0.5.ckpt").read_text() == "first"
    run.save("better", epoch=2, score=0.53)

    assert (tmp_path / "0.5.ckpt").read_text() == "better"
    assert run.callback.best == {"0.5.ckpt": 0.53}


def test_file_system_without_links_gets_copies(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    run = Run(tmp_path, manager())

    run.save("weights", epoch=0, score=1.0)

    assert (tmp_path / "0.ckpt").read_text() == "weights"
    assert not (tmp_path / "0.ckpt").samefile(tmp_path / "latest.ckpt")


def test_displaced_file_stays_until_the_new_one_exists(tmp_path) -> None:
    run = Run(tmp_path, manager(k=1))
    run.save(epoch=0, score=0.1)

    run.decide(epoch=1, score=0.2)
    assert run.files() == ["0.ckpt"]
    run.write()

    assert run.files() == ["1.ckpt"]


def test_decision_on_a_checkpoint_that_could_not_be_written_does_not_name_the_next(tmp_path) -> None:
    run = Run(tmp_path, manager())
    run.decide(epoch=0, score=0.1)  # and then the disk was full

    run.progress.windows_in_epoch = 3
    run.save("in the middle of an epoch")

    assert run.files() == []


def test_decision_on_a_checkpoint_that_could_not_be_written_is_taken_back(tmp_path) -> None:
    """Or the file that it was to displace would stay for ever, beside one less than ``k``."""
    callback = manager(k=1, monitor_key="train_loss", mode="min", format_str="{epoch}.ckpt")
    run = Run(tmp_path, callback)
    run.save(epoch=0, train_loss=3.0)
    run.decide(epoch=1, train_loss=2.0)

    run.decide()
    after_failure = dict(callback.best)
    run.write()
    run.save(epoch=2, train_loss=1.0)

    assert after_failure == {"0.ckpt": 3.0}
    assert run.files() == ["2.ckpt"]


def test_list_goes_on_after_a_resume(tmp_path) -> None:
    run = Run(tmp_path, manager(k=2))
    run.save(epoch=0, score=0.5)
    run.save(epoch=1, score=0.1)

    resumed = manager(k=2)
    resumed.load_state_dict(json.loads(json.dumps(run.callback.state_dict())))
    run = Run(tmp_path, resumed)
    run.save(epoch=2, score=0.3)

    assert run.files() == ["0.ckpt", "2.ckpt"]


def test_state_in_a_checkpoint_includes_that_checkpoint(tmp_path) -> None:
    run = Run(tmp_path, manager())

    run.decide(epoch=0, score=0.5)

    assert run.callback.state_dict() == {
        "best": {"0.ckpt": 0.5},
        "last": ["0.ckpt", None],
        "metric": "score",
    }


def test_run_killed_before_the_decision_was_carried_out_makes_up_for_it(tmp_path) -> None:
    run = Run(tmp_path, manager(k=1))
    run.save("old", epoch=0, score=0.5)
    run.decide(epoch=1, score=0.75)
    run.get_checkpoint_path("latest").write_text("new")
    resumed = manager(k=1)
    resumed.load_state_dict(run.callback.state_dict())

    run = Run(tmp_path, resumed)

    assert run.files() == ["1.ckpt"]
    assert (tmp_path / "1.ckpt").read_text() == "new"
    assert resumed.best == {"1.ckpt": 0.75}


def test_run_killed_before_the_displaced_file_was_removed_removes_it(tmp_path) -> None:
    run = Run(tmp_path, manager(k=1))
    run.save(epoch=0, score=0.1)
    displaced = (tmp_path / "0.ckpt").read_bytes()
    run.save(epoch=1, score=0.2)
    (tmp_path / "0.ckpt").write_bytes(displaced)

    resumed = manager(k=1)
    resumed.load_state_dict(run.callback.state_dict())
    again = Run(tmp_path, resumed)

    assert again.files() == ["1.ckpt"]


def test_files_that_are_gone_make_room(tmp_path) -> None:
    callback = manager(k=1)
    callback.load_state_dict({"best": {"7.ckpt": 0.9}})
    run = Run(tmp_path, callback)

    run.save(epoch=8, score=0.1)

    assert run.files() == ["8.ckpt"]


@pytest.mark.parametrize("key", ["test/mean_score", "test_mean_score"])
def test_slashes_in_metrics_are_underscores(tmp_path, key) -> None:
    run = Run(tmp_path, manager(monitor_key=key, format_str="{epoch:04d}-{test_mean_score:.3f}.ckpt"))

    run.save(**{"epoch": 3, "test/mean_score": 0.1234})

    assert run.files() == ["0003-0.123.ckpt"]


def test_default_name_is_that_of_the_original(tmp_path) -> None:
    run = Run(tmp_path, TopKCheckpointManager(TopKConfig()))

    run.save(**{"epoch": 50, "test/mean_score": 0.87654})

    assert run.files() == ["epoch=0050-test_mean_score=0.877.ckpt"]


@pytest.mark.parametrize("metrics", [{}, {"score": float("nan")}])
def test_checkpoints_without_the_metric_are_not_ranked(tmp_path, caplog, metrics) -> None:
    run = Run(tmp_path, manager())

    run.save(epoch=0, **metrics)
    run.save(epoch=1, **metrics)
    run.save(epoch=2, score=0.5)
    run.callback.dp_after_run()

    assert run.files() == ["2.ckpt"]
    assert caplog.messages == []


def test_metric_that_was_never_measured_is_mentioned_at_the_end(tmp_path, caplog) -> None:
    run = Run(tmp_path, manager())

    run.save(epoch=0)
    run.save(epoch=1)
    run.callback.dp_after_run()

    assert caplog.messages == [
        "topk: 'score' was never measured, so no checkpoint was kept for it; measured were 'epoch', 'global_step'"
    ]
    assert run.callback.summary() == []


def test_metric_that_was_never_finite_is_mentioned_at_the_end(tmp_path, caplog) -> None:
    run = Run(tmp_path, manager())

    run.save(epoch=0, score=float("nan"))
    run.callback.dp_after_run()

    assert caplog.messages == ["topk: 'score' was never finite, so no checkpoint was kept for it"]


def test_summary_names_the_best_file(tmp_path) -> None:
    run = Run(tmp_path, manager())
    run.save(epoch=0, score=0.5)
    run.save(epoch=1, score=0.75)
    run.save(epoch=2, score=0.25)

    name = Path(run.callback.summary()[0].split()[2]).name
    assert name == "1.ckpt"
    assert run.callback.summary()[0].endswith("(score 0.750)")


def test_checkpoint_in_the_middle_of_an_epoch_is_not_ranked(tmp_path, caplog) -> None:
    """Its metrics are those of the epoch before, of other weights."""
    run = Run(tmp_path, manager())
    run.progress.windows_in_epoch = 3

    run.save(epoch=0, score=1.0)

    assert run.files() == []
    assert caplog.messages == []


def test_only_epochs_that_measure_what_the_name_needs_are_ranked(tmp_path, caplog) -> None:
    """A rollout every tenth epoch, a checkpoint in each: the run continues."""
    run = Run(tmp_path, manager(format_str="{epoch}-{test_mean_score:.3f}.ckpt"))

    run.save(epoch=0, score=1.0)
    run.save(epoch=1, score=0.5, **{"test/mean_score": 0.25})
    run.callback.dp_after_run()

    assert run.files() == ["1-0.250.ckpt"]
    assert caplog.messages == []


def test_metric_of_the_name_that_was_never_measured_is_mentioned_at_the_end(tmp_path, caplog) -> None:
    run = Run(tmp_path, manager(format_str="{epoch}-{val_loss:.3f}.ckpt"))

    run.save(epoch=0, score=1.0)
    run.callback.dp_after_run()

    assert caplog.messages == [
        "topk: 'val_loss' was never measured, so no checkpoint was kept for it; measured were 'epoch', "
        "'global_step', 'score'"
    ]


def test_name_that_does_not_fit_the_kind_of_a_value_is_refused(tmp_path) -> None:
    run = Run(tmp_path, manager(format_str="{epoch}-{video:.3f}.ckpt"))

    with pytest.raises(InputError) as error:
        run.save(epoch=0, score=1.0, video="a.mp4")

    assert str(error.value) == (
        "topk: format_str '{epoch}-{video:.3f}.ckpt' does not fit the metrics: "
        "Unknown format code 'f' for object of type 'str'"
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("test/mean_score", "epoch=0003-test_mean_score=0.500.ckpt"),
        ("train_loss", "epoch=0003-train_loss=0.500.ckpt"),
        ("val_loss", "epoch=0003-val_loss=0.500.ckpt"),
    ],
)
def test_default_name_follows_the_metric(tmp_path, key, name) -> None:
    run = Run(tmp_path, TopKCheckpointManager(TopKConfig(monitor_key=key)))

    run.save(**{"epoch": 3, key: 0.5})

    assert run.files() == [name]


def test_the_longest_name_that_is_accepted_can_be_written(tmp_path) -> None:
    format_str = "{epoch:04d}-" + "x" * (LONGEST_NAME - 5)
    assert list(TopKConfig(format_str=format_str).check()) == []
    run = Run(tmp_path, manager(format_str=format_str))

    run.save(epoch=9999, score=0.5)

    assert [len(name) for name in run.files()] == [LONGEST_NAME]


@pytest.mark.parametrize(
    ("measures", "mode", "name"),
    [
        (SIMULATED, "max", "epoch=0003-test_mean_score=0.500.ckpt"),
        (REAL, "min", "epoch=0003-val_loss=0.500.ckpt"),
        (("train_loss", "lr"), "min", "epoch=0003-train_loss=0.500.ckpt"),
    ],
)
def test_what_ranks_where_nobody_says_is_what_tells_most_of_what_is_measured(tmp_path, measures, mode, name) -> None:
    better, worse = (0.5, 0.25) if mode == "max" else (0.5, 0.75)
    run = Run(tmp_path, TopKCheckpointManager(TopKConfig(k=1)), measures)

    for epoch, value in enumerate([worse, better, worse], start=2):
        run.save(**{"epoch": epoch} | dict.fromkeys([key for key in measures if "*" not in key], value))

    assert run.files() == [name]
    assert list(TopKConfig().check(measures)) == []


@pytest.mark.parametrize("name", ["val_loss", "train_action_mse_error"])
def test_less_of_a_loss_or_an_error_is_better_unless_the_config_says_otherwise(name) -> None:
    assert TopKConfig(monitor_key=name).order(ANY) == "min"
    assert TopKConfig(monitor_key=name, mode="max").order(ANY) == "max"
    assert TopKConfig(monitor_key="test/p_1").order(ANY) == "max"


def test_files_that_another_metric_chose_stay_when_a_run_is_resumed_with_this_one(tmp_path) -> None:
    """Scores are no losses: ranked together, the first worse loss would displace the best score."""
    run = Run(tmp_path, TopKCheckpointManager(TopKConfig(k=1)), SIMULATED)
    run.save(**{"epoch": 0, "test/mean_score": 0.75})

    resumed = TopKCheckpointManager(TopKConfig(k=1))
    resumed.load_state_dict(run.callback.state_dict())
    run = Run(tmp_path, resumed, REAL)
    run.save(epoch=1, val_loss=0.5)
    run.save(epoch=2, val_loss=0.25)

    assert run.files() == ["epoch=0000-test_mean_score=0.750.ckpt", "epoch=0002-val_loss=0.250.ckpt"]


@pytest.mark.parametrize(
    ("key", "measures", "message"),
    [
        (
            "test_mean_score",
            REAL,
            "'test_mean_score' is not measured with this config, which measures val_loss, train_loss; choose one of "
            "them",
        ),
        (
            "val_los",
            SIMULATED,
            "'val_los' is not measured with this config, which measures val_loss, train_loss, test/mean_score, "
            "test/sim_max_reward_*; did you mean 'val_loss'?",
        ),
        (
            None,
            ("reward", "lr"),
            "null stands for 'test/mean_score', 'val_loss' or 'train_loss', and this config measures none of them; "
            "choose from reward, lr, or leave the callback out",
        ),
    ],
)
def test_metric_that_is_never_measured_is_refused_before_the_run(key, measures, message) -> None:
    assert list(TopKConfig(monitor_key=key).check(measures)) == [("monitor_key", message)]
    assert list(TopKConfig(monitor_key=key, k=0).check(measures)) == [], "nothing is kept, so nothing is ranked"


@pytest.mark.parametrize(
    "key", ["test/mean_score", "test_mean_score", "test/sim_max_reward_7", "test_sim_max_reward_7"]
)
def test_metric_that_is_measured_is_accepted_as_it_is_logged_and_as_it_is_in_names_of_files(key) -> None:
    assert list(TopKConfig(monitor_key=key).check(SIMULATED)) == []


def test_name_of_what_is_never_measured_is_refused() -> None:
    text = "epoch={epoch:04d}-test_mean_score={test_mean_score:.3f}.ckpt"
    config = TopKConfig(monitor_key="train_loss", format_str=text)

    assert list(config.check(REAL)) == [
        (
            "format_str",
            "'test_mean_score' is not measured with this config, which measures val_loss, train_loss; choose one of "
            "them, or set format_str to null for 'epoch={epoch:04d}-train_loss={train_loss:.3f}.ckpt'",
        )
    ]
    assert list(config.check(SIMULATED)) == list(config.check()) == []


def test_metric_that_cannot_be_part_of_a_format_needs_a_format_of_its_own() -> None:
    assert list(TopKConfig(monitor_key="top.1").check()) == [
        ("monitor_key", "'top.1' cannot be part of the name of a file; set format_str")
    ]
    assert list(TopKConfig(monitor_key="top.1", format_str="{epoch}.ckpt").check()) == []


@pytest.mark.parametrize(
    ("format_str", "message"),
    [
        ("best.ckpt", "'best.ckpt' gives every checkpoint the same name; use '{epoch:04d}' in it"),
        ("", "'' gives every checkpoint the same name; use '{epoch:04d}' in it"),
        ("{}.ckpt", "'{}.ckpt' has a field without a name; write '{epoch}' or a metric"),
        ("best/{epoch}.ckpt", "'best/{epoch}.ckpt' must be a file name without '/'; write '_' for '/' in metrics"),
        ("{epoch.ckpt", "'{epoch.ckpt' is not a format string: expected '}' before end of string"),
        (
            "{epoch:0999999999}.ckpt",
            "'{epoch:0999999999}.ckpt' has the width ':0999999999' for 'epoch'; write a number up to 99",
        ),
        (
            "{epoch}-{score:.100f}.ckpt",
            "'{epoch}-{score:.100f}.ckpt' has the width ':.100f' for 'score'; write a number up to 99",
        ),
        (
            "{epoch:0{global_step}d}.ckpt",
            "'{epoch:0{global_step}d}.ckpt' has the width ':0{global_step}d' for 'epoch'; write a number up to 99",
        ),
        (
            "{epoch.__class__}.ckpt",
            "'{epoch.__class__}.ckpt' has the field 'epoch.__class__'; write the name of a metric, without '.' and '['",
        ),
        (
            "{epoch}-{train_loss:d}.ckpt",
            "'{epoch}-{train_loss:d}.ckpt' does not fit numbers such as 9999 for 'epoch' and -1234.5678 for a metric: "
            "Unknown format code 'd' for object of type 'float'",
        ),
        (
            "{epoch}" + "x" * 300,
            f"'{{epoch}}{'x' * 300}' makes names of 304 bytes, such as '9999{'x' * 36}...'; a file can have 240",
        ),
    ],
)
def test_format_is_checked_before_the_run(format_str, message) -> None:
    assert list(TopKConfig(format_str=format_str).check()) == [("format_str", message)]


def test_callback_can_be_pickled_while_a_checkpoint_is_written(tmp_path) -> None:
    run = Run(tmp_path, manager())
    run.decide(epoch=0, score=1.0)

    assert pickle.loads(pickle.dumps(run.callback)).best == {"0.ckpt": 1.0}
