"""The rules for components: a fault of each sort is found by the rule that it breaks, which says what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dp_core.cli.run import main as dp_run
from dp_core.component import KINDS
from dp_core.registry import Registry
from dp_core.testing.case import with_tiny_parts
from dp_core.testing.examples import TINY, TINY_KINDS
from dp_core.testing.fakes import installed, registry_of, write_distribution
from dp_core.testing.report import check_component

FAULTY = Path(__file__).parents[2] / "data" / "dp_faulty"

HEAVY = """
import json
import wave
import numpy
from dp_core import Component, hookimpl
from dp_core.testing.tiny_plugin import TinyOptions
DP_API = 1
@hookimpl
def dp_components():
    target = "dp_core.testing.tiny:TinyEncoder"
    yield Component(kind="encoder", name="heavy", target=target, config=TinyOptions, summary="has a fault")
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The components of tests/data/dp_faulty, and one whose plugin imports something heavy."""
    folder = tmp_path_factory.mktemp("site-packages")
    sources = {path.name: path.read_text() for path in FAULTY.glob("*.py")}
    write_distribution(folder, "dp-faulty", "1.0", {"faulty": sources, "heavy": HEAVY})
    with installed(folder):
        yield registry_of(folder)


FOUND: dict[tuple[str, str], tuple[str, str]] = {
    ("workspace", "forgetting"): (
        "its_epochs_measure_what_its_options_say",
        "workspace 'forgetting': an epoch measured 'lr'; expected what 'measures' of Forgetting has: train_loss, "
        "train_action_mse_error, test/*, seconds_per_episode, epoch, global_step; add it there: callbacks can be told "
        "in a config to look for what is measured, and for nothing else",
    ),
    ("workspace", "hollow"): (
        "callbacks_find_what_it_provides",
        "workspace 'hollow': in dp_before_run, its 'steps_per_epoch' raised AttributeError: 'Hollow' object has no "
        "attribute 'batches'; expected a whole number above 0; give it one, see dp_core.interfaces.Workspace, or leave "
        "it out of 'provides' of TinyTrainConfig",
    ),
    ("workspace", "misproviding"): (
        "it_is_built_as_its_kind_is",
        "workspace 'misproviding': PluginError: workspace 'misproviding' of dp-faulty: 'provides' of Misproviding "
        "names 'n_epochs', which is no part of a workspace; did you mean 'num_epochs'?",
    ),
    ("workspace", "wordy"): (
        "callbacks_find_what_it_provides",
        "workspace 'wordy': in dp_before_run, its 'batch_size' was 'six'; expected a whole number above 0; give it "
        "one, see dp_core.interfaces.Workspace, or leave it out of 'provides' of TinyTrainConfig",
    ),
    ("workspace", "stale"): (
        "it_is_restored_from_its_checkpoint",
        "workspace 'stale': restored from its checkpoint, 'counter.count' differ; expected the same state; "
        "return in state_dict() all that load_state_dict() has to put back",
    ),
    ("workspace", "unstoppable"): (
        "a_run_ends_when_a_callback_asks_it_to",
        "workspace 'unstoppable': asked to stop in its first epoch, a run began 2; expected no other; end loop() where "
        "an epoch is complete and self.stop_reason is not None",
    ),
    ("workspace", "unsaved"): (
        "a_run_leaves_a_checkpoint",
        "workspace 'unsaved': a run left no checkpoint that can be read: checkpoints/latest.ckpt: no such "
        "checkpoint; expected one; call self.save_checkpoint() at the end of loop()",
    ),
    ("policy", "hoarding"): (
        "reset_forgets",
        "policy 'hoarding' for an image and states: after reset, it acted otherwise than one that has seen "
        "nothing; expected the same; clear in reset() whatever predict_action keeps between calls",
    ),
    ("policy", "scaled"): (
        "actions_are_in_raw_units",
        "policy 'scaled' for an image and states: with data 1000 higher, actions are 1 higher; expected 1000; "
        "end predict_action with self.normalizer['action'].unnormalize(...)",
    ),
    ("policy", "backward"): (
        "a_longer_history_ends_now",
        "policy 'backward' for an image and states: given 4 steps, it acted otherwise than given the last 2 of them; "
        "expected the same; cut what predict_action is given to its last steps: value[:, -n_obs_steps:]",
    ),
    ("policy", "typed"): (
        "observations_mean_what_their_key_says",
        "policy 'typed' for an image and states: numbers as torch.uint8, with images as uint8, made it act otherwise "
        "than as floats; expected the same; leave it to LinearNormalizer(shape_meta), which goes by the type of the "
        "key",
    ),
    ("policy", "numb"): (
        "nan_never_becomes_an_action",
        "policy 'numb' for an image and states: with nan in 'state', it acted, and otherwise than without; expected an "
        "InputError; check = ObservationCheck(obs, shape_meta) first, and check.finish() before returning",
    ),
    ("policy", "sharing"): (
        "rows_draw_from_generators_of_their_own",
        "policy 'sharing' for an image and states: given a generator for each row, row 1 got other actions than alone; "
        "expected the same; draw with dp_core.interfaces.draw_noise, which takes one generator or one for each row",
    ),
    ("policy", "unseeded"): (
        "the_loss_draws_from_the_generator_alone",
        "policy 'unseeded' for an image and states: with the same generator, the loss was 0.48 and then 0.457; "
        "expected the same; pass the generator to everything that draws: torch.randn(..., generator=generator)",
    ),
    ("encoder", "blind"): (
        "every_observation_matters",
        "encoder 'blind' for an image and states: features are the same whatever 'grip' is; expected them to depend on "
        "every key of shape_meta; encode every key of shape_meta['obs'], or refuse in the check method of the options "
        "what is not encoded",
    ),
    ("encoder", "narrow"): (
        "images_reach_the_features_whole",
        "encoder 'narrow' for an image and states: features do not depend on the first 0 and the last 16 of the 96 "
        "columns of 'image'; expected none, or equal margins around a central crop; refuse sizes that do not fill "
        "patches and strides, see dp_core.kit.nn.image_probe, or pad the image",
    ),
    ("encoder", "busy"): (
        "it_can_be_copied",
        "encoder 'busy' for an image and states: cannot be copied: TypeError: cannot pickle 'generator' "
        "object; expected what copy.deepcopy can copy; keep no generators, locks or open files as attributes",
    ),
    ("encoder", "deaf"): (
        "it_is_built_as_its_kind_is",
        "encoder 'deaf' for an image and states: cannot be constructed: TypeError: Deaf.__init__() got an "
        "unexpected keyword argument 'shape_meta'; a component of kind encoder is called as target(config, "
        "shape_meta=...)",
    ),
    ("encoder", "distant"): (
        "what_learns_at_another_rate_exists",
        "encoder 'distant' for an image and states: lr_multipliers names 'backbone.weight'; expected names of "
        "its own parameters; return names as in named_parameters()",
    ),
    ("encoder", "forgetful"): (
        "the_state_dict_holds_everything",
        "encoder 'forgetful' for an image and states: with the state dict of another, it gave other outputs "
        "than that one; expected the same; keep all that outputs depend on in parameters or in buffers "
        "(self.register_buffer)",
    ),
    ("encoder", "function"): (
        "the_target_is_what_its_kind_needs",
        "encoder 'function': its target 'dp_faulty.parts:Function' is not a BaseEncoder; expected a class that "
        "inherits from it; write class Function(BaseEncoder)",
    ),
    ("encoder", "gone"): (
        "the_target_is_what_its_kind_needs",
        "encoder 'gone': its target cannot be imported: encoder 'gone' of dp-faulty: 'dp_faulty.parts' has no "
        "'Gone'; fix the import, or the target of the component",
    ),
    ("encoder", "greedy"): (
        "inputs_are_left_as_they_are",
        "encoder 'greedy' for an image and states: its inputs were changed: 'state'; expected them to be left "
        "as they are; work on new tensors and dictionaries: x = x * 2 instead of x.mul_(2) or x *= 2",
    ),
    ("encoder", "growing"): (
        "the_state_dict_holds_everything",
        "encoder 'growing' for an image and states: the state dict of one does not load into another: Error(s) "
        'in loading state_dict for Growing: Unexpected key(s) in state_dict: "shift"; expected the same names '
        "and shapes; make all parameters and buffers in the constructor, by the options and what it is built "
        "with alone",
    ),
    ("encoder", "heavy"): (
        "listing_it_imports_nothing_heavy",
        "encoder 'heavy': listing it imports 'numpy', in dp_heavy.plugin; expected the standard library, attrs "
        "and light modules of dp_core; import it in the module of the target, or for annotations alone under "
        "`if TYPE_CHECKING:`",
    ),
    ("encoder", "idle"): (
        "every_parameter_learns",
        "encoder 'idle' for an image and states: no gradient reached 'unused.weight', 'unused.bias'; expected "
        "one for every parameter; use them in what the loss depends on, or call requires_grad_(False) on what "
        "is not to learn",
    ),
    ("encoder", "lossy"): (
        "options_survive_a_config_file",
        "encoder 'lossy' for an image and states: written to a file and read again, 'width' changed; expected "
        "the same options; use plain types: numbers, strings, paths, lists, tuples, mappings, attrs classes",
    ),
    ("encoder", "mixing"): (
        "members_of_a_batch_do_not_mix",
        "encoder 'mixing' for an image and states: in eval mode, a member of a batch gave another output than "
        "it gave alone; expected the same; compute statistics over the dimensions behind the first only",
    ),
    ("encoder", "misasking"): (
        "its_rules_ask_for_what_there_is",
        "encoder 'misasking': Misasking.check asks for 'shape_metas', which no component has as an option; expected "
        "shape_meta, horizon or an option of a block around; write 'shape_meta'",
    ),
    ("encoder", "needy"): (
        "the_target_is_what_its_kind_needs",
        "encoder 'needy': its target cannot be imported: encoder 'needy' of dp-faulty needs the package 'open3d_x', "
        "which is not installed (and which the plugin does not declare in 'requires'); write requires=('open3d_x',) "
        "in the Component, or fix the import",
    ),
    ("encoder", "noisy"): (
        "equal_inputs_give_equal_outputs_in_eval_mode",
        "encoder 'noisy' for an image and states: in eval mode, equal inputs gave different outputs; expected "
        "equal ones; draw only while self.training is true or from the generator that is passed, and use "
        "dropout as a module",
    ),
    ("encoder", "plain"): (
        "every_option_has_help",
        "encoder 'plain': option 'width' of Silent has no help; expected one line: meaning, unit, shape; "
        "declare it as option(default, help='...') or slot(kind, help='...')",
    ),
    ("encoder", "sound"): (
        "options_are_frozen_and_keyword_only",
        "encoder 'sound': Changeable can be changed or takes options by position; expected neither; decorate "
        "it with @attrs.frozen(kw_only=True)",
    ),
    ("encoder", "sure"): (
        "options_are_frozen_and_keyword_only",
        "encoder 'sure': Positional can be changed or takes options by position; expected neither; decorate it "
        "with @attrs.frozen(kw_only=True)",
    ),
    ("encoder", "unsized"): (
        "features_have_the_declared_size",
        "encoder 'unsized' for an image and states: has no output_dim; expected the size of one feature vector; "
        "set self.output_dim in the constructor to what forward returns, flattened",
    ),
    ("encoder", "wide"): (
        "features_have_the_declared_size",
        "encoder 'wide' for an image and states: a batch of 1 gave features of shape (1, 5); expected (1, 4), "
        "which is (N, output_dim); set self.output_dim in the constructor to what forward returns, flattened",
    ),
    ("denoiser", "long"): (
        "predictions_have_the_shape_of_the_sample",
        "denoiser 'long' for conditioned globally: a sample of shape (1, 16, 2) gave a prediction of shape (1, "
        "17, 2); expected that of the sample, (B, T, D); end with a layer of input_dim outputs for each of the "
        "steps that come in",
    ),
    ("denoiser", "misspelt"): (
        "what_is_not_decayed_exists",
        "denoiser 'misspelt' for conditioned globally: no_weight_decay names 'layer.bais'; expected names of "
        "its own parameters; return names as in named_parameters()",
    ),
    ("denoiser", "vector"): (
        "a_time_may_be_one_for_all_and_a_fraction",
        "denoiser 'vector' for conditioned globally: fails for a timestep of shape (), torch.int64: "
        "RuntimeError: shape '[3]' is invalid for input of size 1; expected a prediction; write "
        "timestep.expand(len(sample)), and convert it to the type that is needed",
    ),
    ("scheduler", "backwards"): (
        "the_right_network_leads_to_the_data",
        "scheduler 'backwards': with a network that predicts the target exactly, samples are off by 11.8; "
        "expected at most 0.1; let sample undo what add_noise does and read predictions as target makes them",
    ),
    ("scheduler", "clipped"): (
        "the_largest_sample_is_known",
        "scheduler 'clipped': with a network that predicts the target of 10 exactly, samples reach 1, and "
        "largest_sample is None; expected 10; let the property largest_sample return what samples are clipped to, or "
        "None",
    ),
    ("scheduler", "global"): (
        "sampling_draws_from_the_generator_alone",
        "scheduler 'global': with the same generator, samples differed; expected the same; pass it to "
        "everything that draws: torch.randn(..., generator=generator)",
    ),
    ("scheduler", "lumping"): (
        "rows_draw_from_generators_of_their_own",
        "scheduler 'lumping': given a generator for each row, sample raised a TypeError; expected samples; draw with "
        "dp_core.interfaces.draw_noise, which takes one generator or one for each row",
    ),
    ("scheduler", "ignorant"): (
        "known_entries_are_kept",
        "scheduler 'ignorant': known entries are off by up to 1.78; expected them exact; write "
        "torch.where(inpaint.mask, inpaint.values, sample) before every step and at the end",
    ),
    ("dataset", "double"): (
        "windows_have_the_shapes_of_the_task",
        "dataset 'double' for an image and states: 'action' of a window is (16, 2), torch.float64; expected "
        "(T, 2), torch.float32; convert while loading: images to uint8 (T, C, H, W), everything else to float32",
    ),
    ("dataset", "random"): (
        "reading_is_repeatable",
        "dataset 'random' for an image and states: reading a window drew from the global random state; "
        "expected no draw; augment in the encoder; for noise of the data, draw once in the constructor, from a "
        "generator of its own",
    ),
    ("dataset", "shared"): (
        "a_window_is_a_copy",
        "dataset 'shared' for an image and states: changing a window in place changed the data of 'obs.image', "
        "'obs.state', 'obs.grip', 'action'; expected a copy; index with a list or call .clone()",
    ),
    ("dataset", "swapped"): (
        "a_batch_is_its_windows",
        "dataset 'swapped' for an image and states: windows [3, 2, 1, 0] as a batch differ from each alone in "
        "'obs.image', 'obs.state', 'obs.grip', 'action'; expected the same; let __getitem__ and __getitems__ "
        "read through the same function",
    ),
    ("dataset", "unscaled"): (
        "the_normalizer_covers_the_task",
        "dataset 'unscaled' for an image and states: the normalizer has no statistics of 'grip'; expected one "
        "for every key of shape_meta and 'action'; fit it to every array: normalizer[key] = "
        "SingleFieldLinearNormalizer.create_fit(values)",
    ),
    ("runner", "careless"): (
        "the_policy_is_left_as_it_was",
        "runner 'careless' for an image and states: a policy in training mode was left in eval mode; expected "
        "it to be as it was; call policy.train(was_training) at the end, in a finally",
    ),
    ("runner", "moody"): (
        "equal_policies_get_equal_scores",
        "runner 'moody' for an image and states: 'test/mean_score' was 0.25 and then 0.5 for the same policy; "
        "expected the same; seed environments and the generators passed to predict_action again in every run",
    ),
    ("runner", "drifting"): (
        "scores_do_not_depend_on_company",
        "runner 'drifting' for an image and states: 'test/sim_max_reward_1' was 0.2 with n_envs 1 and 0.1 with all "
        "episodes at once; expected no difference; let Environment.reset depend on the start alone, and seed there "
        "whatever an episode draws",
    ),
    ("runner", "nameless"): (
        "it_returns_numbers_and_videos",
        "runner 'nameless' for an image and states: run returned 'score'; expected 'test/mean_score' among "
        "them; return the mean score of the episodes by that name, which callbacks and tables look for",
    ),
    ("runner", "promising"): (
        "it_measures_what_its_options_say",
        "runner 'promising' for an image and states: run did not return 'test/p_*'; expected what 'measures' of "
        "Promising has: test/mean_score, test/success_rate*, test/p_*, seconds_per_episode; correct it there: "
        "callbacks can be told in a config to look for what is measured, and for nothing else",
    ),
    ("optimizer", "amnesiac"): (
        "it_goes_on_from_its_state_dict",
        "optimizer 'amnesiac': with the state dict of another, the next step gave other values of "
        "'trained.weight', 'trained.bias'; expected the same; keep what steps depend on in self.state and in "
        "the groups of parameters",
    ),
    ("optimizer", "decaying"): (
        "weight_decay_spares_what_asks_for_it",
        "optimizer 'decaying': 'trained.bias' decays by 0.5, and the denoiser names it in no_weight_decay; "
        "expected 0; give the parameters that BaseDenoiser modules name in no_weight_decay() a group of their "
        "own",
    ),
    ("optimizer", "even"): (
        "rates_follow_the_encoder",
        "optimizer 'even': 'layer.weight' learns at 0.1, and the encoder asks for 0.1 times the 0.1 of "
        "everything else; expected 0.01; give the parameters that BaseEncoder modules name in lr_multipliers() "
        "groups with a rate of their own",
    ),
    ("optimizer", "thawing"): (
        "it_has_what_is_trained_once",
        "optimizer 'thawing': for a policy that trains 'trained.bias', 'trained.weight', it has 'frozen.bias', "
        "'frozen.weight', 'trained.bias', 'trained.weight'; expected the same; take [p for p in "
        "policy.parameters() if p.requires_grad]",
    ),
    ("lr_schedule", "restarting"): (
        "it_goes_on_from_its_state_dict",
        "lr_schedule 'restarting': with the state dict of another, the next rates were 0.1, 0.09995, 0.0999; "
        "expected 0.075, 0.07495, 0.0749; let rates depend on last_epoch, the options and num_training_steps "
        "alone",
    ),
    ("lr_schedule", "rising"): (
        "rates_are_sound_and_end",
        "lr_schedule 'rising': after the last of 1000 steps, the rate rises from 100 to 104.9; expected it to "
        "stay or fall; limit the step to num_training_steps",
    ),
    ("callback", "breaking"): (
        "it_gets_through_a_run",
        "callback 'breaking': a run with it ended with KeyError: 'test/reward'; expected it to go to its end; "
        "catch what must not stop a training run",
    ),
    ("callback", "meddling"): (
        "it_reads_of_the_workspace_what_it_declares",
        "callback 'meddling': sets 'note' of the workspace; expected it to set nothing; keep it in the callback",
    ),
    ("callback", "misneeding"): (
        "it_gets_through_a_run",
        "callback 'misneeding': PluginError: callback 'misneeding' of dp-faulty: 'needs' of Misneeding names "
        "'progres', which is no part of a workspace; did you mean 'progress'?",
    ),
    ("callback", "peeking"): (
        "it_reads_of_the_workspace_what_it_declares",
        "callback 'peeking': reads 'num_epochs' of the workspace; expected Needing to name what not every workspace "
        "has; write needs: ClassVar[tuple[str, ...]] = ('progress', 'num_epochs') in Needing",
    ),
    ("callback", "reaching"): (
        "it_reads_of_the_workspace_what_it_declares",
        "callback 'reaching': reads 'optimizer' of the workspace; expected only what dp_core.interfaces.Workspace has; "
        "take it from what is there, from the metrics of a hook or from the payload of a checkpoint",
    ),
    ("callback", "losing"): (
        "its_state_goes_through_a_checkpoint",
        "callback 'losing': its state is different after it was loaded, in 'n_epochs'; expected the same; take "
        "up in load_state_dict all that state_dict returns",
    ),
    ("callback", "misheard"): (
        "it_listens_to_hooks_that_exist",
        "callback 'misheard': unknown hook 'dp_after_epochs'; did you mean 'dp_after_epoch'?; see "
        "dp_core.hooks.RunHooks for the names of hooks and arguments",
    ),
    ("callback", "silenced"): (
        "it_listens_to_hooks_that_exist",
        "callback 'silenced': listens to no hook; expected at least one; mark a method with @hookimpl, see "
        "dp_core.hooks.RunHooks",
    ),
}
"""For each fault, the rule that finds it and what that says."""


@pytest.mark.parametrize(("kind", "name"), FOUND, ids=lambda value: value)
def test_a_fault_is_found_by_the_rule_that_it_breaks(kind: str, name: str, faulty: Registry) -> None:
    broken = check_component(faulty, faulty.resolve(kind, name)).broken

    rule, message = FOUND[kind, name]
    assert broken[0] == f"{rule}: {message}"
    assert {line.partition(":")[0] for line in broken} == {rule, *ALSO.get(name, ())}


ALSO = {
    "busy": ["it_can_be_pickled"],
    "backwards": ["the_largest_sample_is_known"],
    "global": ["rows_draw_from_generators_of_their_own"],
    "hoarding": ["rows_draw_from_generators_of_their_own"],
    "losing": ["a_resumed_run_leaves_it_as_a_whole_one_does"],
}
"""Rules that a fault breaks besides: what cannot be pickled cannot be copied, what goes the wrong way gets nowhere, who
keeps what was drawn, or draws from elsewhere, gives no row what it would give it alone, and a resumed run does not get
back what a checkpoint loses."""


def test_every_fault_is_expected(faulty: Registry) -> None:
    assert {(component.kind, component.name) for component in faulty.components()} == set(FOUND)


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_stand_ins_keep_the_rules(kind: str) -> None:
    registry = with_tiny_parts(Registry([]))

    outcome = check_component(registry, registry.resolve(kind, TINY))

    assert outcome.broken == []
    assert outcome.kept > 5


def test_every_kind_has_a_class_and_rules_with_a_sentence() -> None:
    from dp_core import testing
    from dp_core.testing.checks import EACH, ONCE

    classes = {getattr(testing, name).kind for name in testing.__all__}
    assert classes == set(KINDS)
    for check in (*ONCE, *(check for checks in EACH.values() for check in checks)):
        assert (check.__doc__ or "").endswith("."), check.__name__


# -- dp-run --check PLUGIN --------------------------------------------------------------------------------------------


def test_checking_a_plugin_ends_with_status_2_where_a_rule_is_broken(
    faulty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dp_run(["--check", "heavy"]) == 2

    rule, message = FOUND["encoder", "heavy"]
    assert capsys.readouterr().out.splitlines()[:3] == [
        "heavy of dp-faulty 1.0",
        "  encoder/heavy: 1 of 35 checks failed",
        f"    {rule}: {message}",
    ]


def test_what_cannot_be_built_is_said_to_be_unchecked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_distribution(tmp_path, "dp-far", "1.0", {"far": FAR})
    with installed(tmp_path):
        assert [dp_run(["--check", name]) for name in ("dp-far:far", "dp_far")] == [0, 0]

    assert capsys.readouterr().out == 2 * (
        "far of dp-far 1.0\n"
        "  encoder/far: its description is sound; not checked further: an image and states: needs open3d_x; "
        "install with: pip install 'dp-far[sim]'\n"
        "  dataset/far: its description is sound; not checked further: an image and states: path: required, but "
        "missing; say what fits in the DatasetConformance that the Component names, or behind the command, as "
        "key=value\n"
    )


FAR = """
from pathlib import Path
import attrs
from dp_core import Component, hookimpl, option
DP_API = 1
@attrs.frozen(kw_only=True)
class Options:
    path: Path = option(help="of the files")
@hookimpl
def dp_components():
    target = "dp_core.testing.tiny:TinyEncoder"
    needs = {"requires": ("open3d_x",), "extra": "sim"}
    yield Component(kind="encoder", name="far", target=target, config=Options, summary="far", **needs)
    target = "dp_core.testing.tiny:TinyDataset"
    yield Component(kind="dataset", name="far", target=target, config=Options, summary="far")
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["timmm"],
            "'timmm' is neither a config (no such file, does not end in .yaml) nor a plugin; did you mean 'timm'?",
        ),
        (
            ["qqq"],
            "'qqq' is neither a config (no such file, does not end in .yaml) nor a plugin; "
            "dp-run --list shows plugins, dp-run --list configs configs",
        ),
        (["gone.yaml"], "gone.yaml has 1 problem\n  no such file"),
        (
            ["task/robomimic/lift_image"],
            "task/robomimic/lift_image has 1 problem\n"
            "  dataset.horizon: Interpolation key 'horizon' not found\n"
            "  note: 'task/robomimic/lift_image' is not a whole config, but a part to build on; in one of yours: "
            "'extends: [task/robomimic/lift_image]'",
        ),
        (["timm", "model=vit"], "'model' is no option of what 'timm' has; did you mean 'model_name'?"),
        (["timm", "crop"], "the command line has 1 problem\n  'crop' is not an override; write key=value"),
    ],
)
def test_what_is_neither_config_nor_plugin_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dp_run(["--check", *arguments]) == 2

    assert capsys.readouterr().err == f"dp-run: error: {message}\n"


def test_an_undeclared_package_that_is_missing_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = "import open3d_x\n"
    plugin = HEAVY.replace("import numpy\n", "").replace("heavy", "needy")
    plugin = plugin.replace("dp_core.testing.tiny:TinyEncoder", "dp_needy.encoder:Encoder")
    write_distribution(tmp_path, "dp-needy", "1.0", {"needy": {"plugin.py": plugin, "encoder.py": encoder}})
    with installed(tmp_path):
        assert dp_run(["--check", "needy"]) == 2

    assert capsys.readouterr().out == (
        "needy of dp-needy 1.0\n"
        "  encoder/needy: 1 of 5 checks failed\n"
        "    the_target_is_what_its_kind_needs: encoder 'needy': its target cannot be imported: encoder 'needy' of "
        "dp-needy needs the package 'open3d_x', which is not installed (and which the plugin does not declare in "
        "'requires'); write requires=('open3d_x',) in the Component, or fix the import\n"
    )


def test_a_rule_that_no_example_leads_to_is_said_to_be_unchecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No example has ``num_inference_steps``, which blocks have that could be around it."""
    asking = (
        HEAVY.replace("import numpy\n", "import attrs\n")
        .replace("heavy", "asking")
        .replace(
            "@hookimpl",
            "@attrs.frozen(kw_only=True)\nclass Asking:\n    def check(self, num_inference_steps):\n"
            "        return ()\n\n@hookimpl",
        )
        .replace("config=TinyOptions", "config=Asking")
    )
    write_distribution(tmp_path, "dp-asking", "1.0", {"asking": asking})
    with installed(tmp_path):
        assert dp_run(["--check", "asking"]) == 0

    assert (
        "    not checked: its_rules_ask_for_what_there_is: Asking.check was never asked: it asks for "
        "'num_inference_steps', which no example has\n"
    ) in capsys.readouterr().out


def test_a_distribution_is_checked_with_all_its_plugins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_distribution(tmp_path, "dp-two", "1.0", {"one": "DP_API = 9", "two": "DP_API = 8"})
    with installed(tmp_path):
        assert dp_run(["--check", "dp-two"]) == 2

    cause = "is broken: written for plugin API N; this dp-core has API 1; upgrade dp-core"
    assert re.sub(r"API [89]", "API N", capsys.readouterr().err) == (
        f"dp-run: error: the plugin 'one' of dp-two 1.0 {cause}; the plugin 'two' of dp-two 1.0 {cause}\n"
    )


def test_a_plugin_that_two_packages_offer_is_named_with_its_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dp-a", "dp-b"):
        write_distribution(tmp_path, name, "1.0", {"twin": "DP_API = 9"})
    with installed(tmp_path):
        assert [dp_run(["--check", name]) for name in ("twin", "dp-b:twin")] == [2, 2]

    assert capsys.readouterr().err == (
        "dp-run: error: plugin 'twin' is provided by 2 packages; write 'dp-a:twin' or 'dp-b:twin'\n"
        "dp-run: error: the plugin 'twin' of dp-b 1.0 is broken: its module 'dp_twin.plugin' is also one of 'dp-a', "
        "and one has overwritten the files of the other; uninstall both and install one\n"
    )


# -- in a test file of an author --------------------------------------------------------------------------------------

CONFTEST = 'pytest_plugins = ["dp_core.testing.pytest_plugin"]\n'
AUTHORS_TESTS = """
from dp_core.testing import EncoderConformance
from dp_core.testing.case import with_tiny_parts
from dp_core.registry import Registry


class TestTiny(EncoderConformance):
    component = "dp-core/tiny"

    @classmethod
    def registry(cls):
        return with_tiny_parts(Registry.discover())


class TestWide(EncoderConformance):
    component = "wide"
    shape_metas = {"a state": {"obs": {"state": {"shape": [3]}}, "action": {"shape": [2]}}}
    test_every_parameter_learns = None


class TestRefusing(EncoderConformance):
    component = "wide"
    configs = [{"width": 3}]


class TestNeedy(EncoderConformance):
    component = "needy"


def test_fixtures(registry, shape_meta, obs, batch, install_distribution):
    encoder = registry.build("encoder", "dp-core/tiny", shape_meta=shape_meta)
    assert encoder(obs).shape == (3, encoder.output_dim)
    assert batch["action"].shape == (3, 16, 2)
    assert install_distribution("dp-none", {"none": ""}).plugins[0].cause == "add DP_API = 1 to dp_none.plugin"
    assert len(install_distribution("dp-more", {"more": ""}).plugins) == 2
"""


def test_classes_and_fixtures_work_in_the_tests_of_an_author(faulty: Registry, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(AUTHORS_TESTS)
    folder = next(path for path in sys.path if "site-packages" in path and (Path(path) / "dp_faulty").is_dir())
    program = f"import sys, pytest; sys.path.insert(0, {folder!r}); sys.exit(pytest.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "-q", "-rA", "--tb=line", "-W", "error", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    failed = sorted(
        line.partition(" ")[2].partition(" - ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")
    )
    assert failed == [
        "test_mine.py::TestNeedy::test_the_target_is_what_its_kind_needs",
        "test_mine.py::TestRefusing::test_an_example_fits",
        "test_mine.py::TestWide::test_features_have_the_declared_size[default-a state]",
    ]
    assert (
        "nothing was checked; choose other configs or settings: encoder 'wide' with {'width': 3} for an image and "
        "states, encoder 'wide' with {'width': 3} for states: width: unknown option; there are no options\n"
    ) in done.stdout
    assert "its target cannot be imported\n" in done.stdout  # why everything else of TestNeedy is skipped
    assert "PASSED test_mine.py::test_fixtures" in done.stdout
    assert "PASSED test_mine.py::TestTiny::test_it_can_be_pickled[default-states]" in done.stdout
    assert "TestWide::test_every_parameter_learns" not in done.stdout


def test_importing_the_helpers_imports_neither_torch_nor_pytest() -> None:
    program = (
        "import sys, dp_core.testing, dp_core.testing.fakes, dp_core.cli.check, dp_core.testing.tiny_plugin; "
        "assert not {'torch', 'pytest', 'numpy', 'omegaconf'} & set(sys.modules)\n"
        "from dp_core.cli.run import main; main(['--list']); "
        "assert not [n for n in sys.modules if n.startswith('dp_core.testing.ch')]\n"
        "import dp_core.testing.conformance; assert 'pytest' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
