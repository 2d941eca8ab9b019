"""Conformance classes: inherit from the one of your component's kind, and pytest tests the rules of that kind.

The shortest test file of an encoder that its plugin calls ``depth``::

    from dp_core.testing import EncoderConformance

    class TestDepth(EncoderConformance):
        component = "depth"

The examples that it is tried with can be chosen::

    class TestDepth(EncoderConformance):
        component = "dp-depth/depth"                    # where several packages have a 'depth'
        configs = [{}, {"channels": 8}]                 # options as in YAML; each is tried in every setting
        shape_metas = {"one depth image": {"obs": {"depth": {"shape": [1, 48, 48], "type": "rgb"}},
                                           "action": {"shape": [2]}}}

What is made for one task, or needs data, says so once: in a class of its package, which the tests take over::

    # dp_reacher/conformance.py
    class ReacherConformance(RunnerConformance):
        component = "reacher"
        configs = [{"n_test": 2, "max_steps": 20}]
        shape_metas = {"reacher": {"obs": {"joints": {"shape": [2]}}, "action": {"shape": [2]}}}

    # dp_reacher/plugin.py: Component(..., conformance="dp_reacher.conformance:ReacherConformance")
    # tests/test_runner.py
    from dp_reacher.conformance import ReacherConformance as TestReacher

``dp-run --check reacher`` then tries it in the same way, for everybody who has the package.

Every rule is one test for each example: ``test_features_have_the_declared_size[default-one depth image]``. An example
that cannot be built (options refuse it, data are absent) is skipped with the reason; if none can, so that nothing
would be tested, ``test_an_example_fits`` fails. Where a package that the component requires is absent, all are skipped.
A rule that does not hold for good reasons is left out by ``test_every_parameter_learns = None`` in the class.

Pretrained weights are not fetched, and nothing needs a GPU, though one is used if it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from dp_core.component import Component, Kind
from dp_core.registry import Registry
from dp_core.testing.case import Case, ConformanceError, NotChecked, NotImported, cases_of
from dp_core.testing.checks import EACH, ONCE, Check
from dp_core.testing.examples import SETTINGS, SHAPE_METAS, SHAPES, Setting, for_task, of_shape


@cache
def _installed() -> Registry:
    return Registry.discover()


def _id(case: Case) -> str:
    options = "-".join(f"{key}={value}" for key, value in case.options.items()) or "default"
    return f"{options}-{case.title}" if case.title else options


def _test_each(check: Check) -> Callable[..., None]:
    def test(self: Conformance, case: Case) -> None:
        _apply(check, case)

    return _named(test, check)


def _test_once(check: Check) -> Callable[..., None]:
    def test(self: Conformance) -> None:
        _apply(check, self.cases()[0].undecided)

    return _named(test, check)


def _named(test: Callable[..., None], check: Check) -> Callable[..., None]:
    test.__name__ = f"test_{check.__name__}"
    test.__doc__ = check.__doc__
    return test


def _apply(check: Check, case: Case) -> None:
    try:
        check(case)
    except NotChecked as reason:
        _skip(str(reason))


def _skip(reason: str) -> None:
    import pytest  # here, so that the rules can be read without it

    pytest.skip(reason)


class Conformance:
    """The part that all conformance classes share."""

    kind: ClassVar[Kind]
    component: ClassVar[str | Component]
    """The name of the component as in a config, or the `Component` itself."""
    configs: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """The options to try. Required ones that are left out get a small value where the name says what they mean: steps
    of a window, slots for other components."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in vars(cls):
            for check in ONCE:
                setattr(cls, f"test_{check.__name__}", _test_once(check))
            for check in EACH[cls.kind]:
                setattr(cls, f"test_{check.__name__}", _test_each(check))

    @classmethod
    def registry(cls) -> Registry:
        """Return the components that are installed; tests of plugins that are not installed override it."""
        return _installed()

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """Return what the component is built for, by a name."""
        return SETTINGS.get(cls.kind, {"": Setting()})

    @classmethod
    def cases(cls) -> list[Case]:
        """List a case for every config in every setting."""
        component = cls.component
        if isinstance(component, str):
            component = cls.registry().resolve(cls.kind, component)
        return cls.cases_of(cls.registry(), component)

    @classmethod
    def cases_of(cls, registry: Registry, component: Component) -> list[Case]:
        """List a case of ``component`` for every config in every setting."""
        return cases_of(registry, component, cls.configs, cls.settings())

    @classmethod
    def leaves_out(cls, check: Check) -> bool:
        """Tell whether the author says that a rule does not hold: ``test_<rule> = None``."""
        return getattr(cls, f"test_{check.__name__}", check) is None

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test for each case; pytest calls this while it collects."""
        if "case" in metafunc.fixturenames:
            cases = self.cases()
            metafunc.parametrize("case", cases, ids=[_id(case) for case in cases])

    def test_an_example_fits(self) -> None:
        """Check that at least one example can be built: its options go with its setting, and its data are there."""
        is_built = EACH[self.kind][0]
        refused: dict[str, list[str]] = {}
        for case in self.cases():
            try:
                is_built(case)
            except NotImported as reason:
                _skip(str(reason))
            except NotChecked as reason:
                refused.setdefault(str(reason), []).append(str(case))
            else:
                return
        reasons = "; ".join(f"{', '.join(cases)}: {reason}" for reason, cases in refused.items())
        raise ConformanceError(f"nothing was checked; choose other configs or settings: {reasons}")


class _ForTasks(Conformance):
    shape_metas: ClassVar[Mapping[str, Mapping[str, Any]]] = SHAPE_METAS
    """Tasks to try, by a name."""
    samples: ClassVar[Mapping[str, Callable[[int, Any], Any]]] = {}
    """What keys hold where random numbers do not do: by key, ``sample(count, generator)``, which draws a tensor
    (count, *shape) from a `torch.Generator`. Encoders and policies are given it as it is."""

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        is_usual = cls.shape_metas is SHAPE_METAS
        return {name: for_task(task, cls.samples, is_usual=is_usual) for name, task in cls.shape_metas.items()}


class EncoderConformance(_ForTasks):
    """For encoders. Images of the default tasks are 3 x 96 x 96."""

    kind = "encoder"


class DenoiserConformance(Conformance):
    """For denoisers: conditioned globally, conditioned locally, unconditioned, as far as their options allow.

    Those that take tokens are given some, too.
    """

    kind = "denoiser"


class SchedulerConformance(Conformance):
    """For schedulers."""

    kind = "scheduler"


class ModalityConformance(Conformance):
    """For modalities: of a number, a vector, a matrix, images, as far as their options allow such shapes."""

    kind = "modality"
    shapes: ClassVar[Mapping[str, Sequence[int]]] = SHAPES
    """Shapes of an observation to try, by a name."""

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        return {name: of_shape(shape) for name, shape in cls.shapes.items()}


class PolicyConformance(_ForTasks):
    """For policies. Slots without a default are filled with stand-ins of a few parameters."""

    kind = "policy"


class DatasetConformance(_ForTasks):
    """For data sets. Let `record` write known episodes; give ``configs`` that hold some out for validation."""

    kind = "dataset"

    @staticmethod
    def record(folder: Path, episodes: list[dict[str, Any]]) -> Mapping[str, Any]:
        """Write episodes in the format of the data set, and return the options that open them.

        Override it: what steps windows have cannot be checked otherwise. Its options hold wherever ``configs`` says
        nothing else, and in checks of steps always::

            @staticmethod
            def record(folder, episodes):
                for number, episode in enumerate(episodes):
                    np.savez(folder / f"{number}.npz", **episode)
                return {"path": folder}

        Args:
            folder: empty.
            episodes: five, each ``{key: array (steps, *shape)}`` with the keys of ``shape_meta["obs"]`` and ``action``:
                images uint8 (steps, C, H, W), numbers float32, other keys as their modality draws them. No step is like
                another, of images and numbers.
        """
        raise NotImplementedError

    @classmethod
    def cases_of(cls, registry: Registry, component: Component) -> list[Case]:
        record = None if cls.record is DatasetConformance.record else cls.record
        return cases_of(registry, component, cls.configs, cls.settings(), record)


class RunnerConformance(_ForTasks):
    """For runners. Give its task in ``shape_metas``, and few and short episodes in ``configs``."""

    kind = "runner"


class OptimizerConformance(Conformance):
    """For optimizers."""

    kind = "optimizer"


class LrScheduleConformance(Conformance):
    """For learning-rate schedules."""

    kind = "lr_schedule"


class CallbackConformance(Conformance):
    """For callbacks, which listen to a run of two epochs."""

    kind = "callback"


class WorkspaceConformance(Conformance):
    """For workspaces. Give in ``configs`` what makes their run take a second."""

    kind = "workspace"


CLASSES: dict[str, type[Conformance]] = {
    cls.kind: cls
    for cls in (
        EncoderConformance,
        DenoiserConformance,
        SchedulerConformance,
        PolicyConformance,
        DatasetConformance,
        RunnerConformance,
        OptimizerConformance,
        LrScheduleConformance,
        CallbackConformance,
        WorkspaceConformance,
        ModalityConformance,
    )
}
"""By kind."""
