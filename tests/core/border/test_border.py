"""Whose code raised something: told by what was built where, without help of the object."""

from __future__ import annotations

import copy
import gc
import pickle
from typing import Any

import pytest
from torch import nn

from dp_core.border import Failure, Origin, fault, named, naming, origin_of, say_when
from dp_core.border.log import recorded
from dp_core.border.origin import remember
from dp_core.component import Component
from dp_core.config.fields import Slot
from dp_core.errors import ComponentError, DpError, InputError


class Part:
    """What a component builds; it works, or has others work."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    def work(self, error: Exception) -> None:
        if self.inner is None:
            raise error
        self.inner.work(error)


class Slotted:
    __slots__ = ()


OUTER, LEFT, RIGHT = (Origin(f"policy.{name}", "encoder 'part'", "dp-lab 0.3") for name in ("outer", "left", "right"))


def built(origin: Origin, inner: Any = None, cls: type[Part] | None = None) -> Part:
    """A part of a class of its own, as what other tests leave may still be alive."""
    cls = cls or type("Own", (Part,), {})
    part = cls(inner)
    remember(part, origin, cls)
    return part


def blamed(part: Part) -> str:
    with pytest.raises(ComponentError) as caught, naming():
        part.work(ValueError("lost"))
    return caught.value.path


def test_the_innermost_component_is_named() -> None:
    inner = built(LEFT)

    assert blamed(built(OUTER, inner)) == "policy.left"
    assert blamed(built(OUTER, Part(Part()))) == "policy.outer", "of what it is made of, nobody knows"


def test_a_copy_comes_from_where_its_original_does() -> None:
    left = built(LEFT)

    assert blamed(copy.deepcopy(left)) == "policy.left"


def test_of_the_copies_of_two_that_are_alike_both_are_named() -> None:
    twin = type("Twin", (Part,), {})
    originals = built(LEFT, cls=twin), built(RIGHT, cls=twin)

    assert blamed(copy.deepcopy(originals)[1]) == "policy.left or policy.right"


def test_copies_of_modules_that_are_alike_are_told_apart() -> None:
    originals = [nn.Linear(1, 1), nn.Linear(1, 1)]
    for module, origin in zip(originals, (LEFT, RIGHT), strict=True):
        remember(module, origin, nn.Linear)

    assert [origin_of(module) for module in copy.deepcopy(originals)] == [LEFT, RIGHT]


def test_an_object_that_is_passed_on_keeps_its_first_origin_and_is_forgotten_with_its_life() -> None:
    part = built(LEFT)
    remember(part, OUTER, Part)

    assert origin_of(part) == LEFT
    del part
    gc.collect()
    assert origin_of(Part()) is None


def test_what_cannot_be_remembered_does_no_harm() -> None:
    thing = Slotted()
    remember(thing, LEFT, Slotted)

    assert origin_of(thing) is None


def test_what_users_can_mend_comes_back_as_it_is() -> None:
    mistake, unreadable, unknown = InputError("turn it"), FileNotFoundError(2, "No such file", "a.zarr"), ValueError()

    assert named(mistake, LEFT) is mistake
    assert named(unknown) is unknown
    assert named(named(unreadable, LEFT), OUTER) is unreadable
    assert unreadable.__notes__ == ["raised by policy.left: encoder 'part' of dp-lab 0.3"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("image"), "KeyError: 'image'"),
        (AssertionError(), "AssertionError"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
    ],
)
def test_the_message_is_one_line_and_takes_the_notes(error: Exception, text: str) -> None:
    error.add_note("the state is saved")
    failure = named(error, LEFT)

    assert isinstance(failure, ComponentError)
    assert str(failure) == f"policy.left: encoder 'part' of dp-lab 0.3 raised {text}"
    assert (failure.path, failure.component, failure.provider) == ("policy.left", "encoder 'part'", "dp-lab 0.3")
    assert (failure.__cause__, failure.__notes__) == (error, ["the state is saved"])
    assert not hasattr(error, "__notes__"), "or a traceback would show them twice"


def test_when_it_happened_is_told_once() -> None:
    error, mistake = ValueError("lost"), InputError("turn it")
    for each in (error, mistake):
        say_when(each, "in step 3")
    say_when(error, "in an episode")

    assert str(named(error, Origin("runner", "Mine"))) == "runner: Mine raised in step 3: ValueError: lost"
    assert mistake.__notes__ == ["in step 3"]


def test_a_fault_that_raises_nothing_is_told_of_whom_it_is() -> None:
    assert str(fault(built(LEFT), "returned NaN")) == "policy.left: encoder 'part' of dp-lab 0.3 returned NaN"
    assert str(fault(Slotted(), "returned NaN")) == "'Slotted' returned NaN"


class ForeignError(Exception):
    def __init__(self, *, joint: int) -> None:
        super().__init__(f"joint {joint}")


class MistakeError(DpError):
    def __init__(self, *, joint: int) -> None:
        super().__init__(f"fasten joint {joint}")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("lost"), "ValueError: lost"),
        (ForeignError(joint=4), "ForeignError: joint 4"),
        (MistakeError(joint=4), "DpError: fasten joint 4"),
        (
            named(ValueError("lost"), LEFT),
            "ComponentError: policy.left: encoder 'part' of dp-lab 0.3 raised ValueError: lost",
        ),
    ],
)
def test_a_failure_survives_the_way_between_processes(error: Exception, text: str) -> None:
    say_when(error, "in step 3")
    try:
        raise error
    except Exception as caught:
        failure = pickle.loads(pickle.dumps(Failure.of(caught)))

    with pytest.raises((ValueError, RuntimeError, DpError)) as raised:
        failure.reraise()

    kind = "" if text.startswith("Foreign") else f"{type(raised.value).__name__}: "
    assert f"{kind}{raised.value}" == text
    assert getattr(raised.value, "_dp_when", None) or raised.value.__notes__ == ["in step 3"]
    assert "in test_a_failure_survives_the_way_between_processes\n    raise error\n" in str(raised.value.__cause__)


def test_a_slot_names_its_place_if_what_it_builds_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    component = Component(
        kind="encoder", name="part", target="a:B", config=type("C", (), {"__attrs_attrs__": ()}), summary="",
        distribution="dp-lab", version="0.3",
    )  # fmt: skip
    monkeypatch.setattr(Component, "load", lambda _: lambda config, *, size: 1 // size)

    with pytest.raises(ComponentError) as caught:
        Slot(component, None, "policy.left").build(size=0)

    assert str(caught.value) == (
        "policy.left: encoder 'part' of dp-lab 0.3 raised ZeroDivisionError: integer division or modulo by zero"
    )
    with pytest.raises(ComponentError, match=r"^encoder 'part' of dp-lab 0.3 raised"):
        Slot(component, None).build(size=0)


def test_what_cannot_be_recorded_is_logged(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "run"
    place.write_text("a file where a directory is to be")

    error = recorded(ValueError("lost"), LEFT, lambda: place)

    assert str(error) == "policy.left: encoder 'part' of dp-lab 0.3 raised ValueError: lost"
    assert not hasattr(error, "__notes__")
    assert caplog.messages == [
        f"the traceback cannot be written to {place}/error.log: [Errno 17] File exists: '{place}'"
    ]
