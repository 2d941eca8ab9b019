"""The rules of data sets about what is in a window, checked with episodes that an author's `record` wrote."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import attrs
import torch

from dp_core.errors import DpError, quoted
from dp_core.testing.case import Case, NotChecked
from dp_core.testing.recording import Place, Recording

_BUDGET = 2**28
"""Bytes of windows that are read to compare training with validation."""
_CHUNK = 256

Places = list[list[Place | None]]
"""By window and position, the step that is there; None: one that was not recorded."""


def actions_belong_to_their_observations(case: Case) -> None:
    """Check that, where a window has an observation of a step, it has the action of that step."""
    known = _Known.of(case)
    for name, places in known.windows():
        acted = places.pop("action", [])
        for key, observed in places.items():
            for position, (seen, done) in enumerate(zip(observed, acted, strict=False)):
                if seen is not None and done is not None and seen != done:
                    case.fail(
                        f"position {position} of {name} has '{key}' of {seen} and the action of {done}; expected both "
                        "of the same step",
                        "let row t of every array be what was seen in step t, and what was then done",
                    )
    known.say_what_is_strange()


def windows_stay_in_one_episode(case: Case) -> None:
    """Check that no window runs from one episode into the next."""
    known = _Known.of(case)
    for name, places in known.windows():
        for key, steps in places.items():
            if len(episodes := sorted({step.episode for step in steps if step is not None})) > 1:
                case.fail(
                    f"'{key}' of {name} has steps of the episodes {', '.join(map(str, episodes))}; expected those of "
                    "one",
                    "start and end windows at the borders of episodes, and repeat their first or last step there",
                )
    known.say_what_is_strange()


def borders_repeat_the_first_or_last_step(case: Case) -> None:
    """Check that steps of a window follow each other, and that only the first and last of an episode are repeated."""
    known = _Known.of(case)
    for name, places in known.windows():
        for key, steps in places.items():
            if (fault := _break(steps, known.recording)) is not None:
                case.fail(
                    f"'{key}' of {name} has {fault}; expected the steps of an episode one by one, and its first or "
                    "last step repeated where a window reaches over its border",
                    "clip the numbers of the steps to those of the episode",
                )
    known.say_what_is_strange()


def validation_is_held_out(case: Case) -> None:
    """Check that validation shows no step of what is trained on, or nobody would see that a policy learns by heart."""
    if case.record is None:
        _check_that_no_step_is_in_both(case)
        return
    known = _Known.of(case)
    if not len(known.validation):
        raise NotChecked("nothing is held out with these options")
    trained, validated = (known.episodes(dataset) for dataset in (known.dataset, known.validation))
    if both := sorted(trained & validated):
        case.fail(
            f"validation has windows of {_episodes(both)}, and so has training; expected whole episodes in one of the "
            "two",
            "choose the episodes that are held out first, and cut windows from the others for training",
        )
    known.say_what_is_strange()


def constant_entries_stay_finite(case: Case) -> None:
    """Check that what never changes in the data can be normalised all the same."""
    known = _Known.of(case)
    remedy = "leave such entries unscaled, as SingleFieldLinearNormalizer.create_fit does"
    try:
        normalizer = known.dataset.get_normalizer()
    except DpError as error:
        case.fail(f"cannot make a normalizer where an entry is the same in all steps ({error}); expected one", remedy)
    window = known.dataset[0]
    for key, value in {**window["obs"], "action": window["action"]}.items():
        # What its modality does not scale has no statistics, and passes as it is.
        if key in normalizer and not normalizer[key].normalize(value).isfinite().all():
            case.fail(
                f"normalised, '{key}' is not finite where an entry is the same in all steps; expected numbers", remedy
            )


CHECKS = (
    actions_belong_to_their_observations,
    windows_stay_in_one_episode,
    borders_repeat_the_first_or_last_step,
    validation_is_held_out,
    constant_entries_stay_finite,
)


@attrs.define
class _Known:
    """A data set that reads a recording."""

    recording: Recording
    dataset: Any
    validation: Any
    strange: dict[str, None] = attrs.field(factory=dict, init=False)
    """Keys of which nothing is as it was recorded."""

    @classmethod
    def of(cls, case: Case) -> _Known:
        recording = case.recording()
        dataset = attrs.evolve(case, options={**case.options, **recording.options}).build()
        if not len(dataset):
            raise NotChecked("the data set makes no windows of what was recorded")
        return cls(recording, dataset, dataset.get_validation_dataset())

    def windows(self) -> Iterator[tuple[str, dict[str, list[Place | None]]]]:
        """Yield what a window is called, and by key the steps that it is made of, for training and validation."""
        for name, dataset in (("window", self.dataset), ("validation window", self.validation)):
            places = self.places(dataset) if len(dataset) else {}
            for number in range(len(dataset)):
                yield f"{name} {number}", {key: windows[number] for key, windows in places.items()}

    def places(self, dataset: Any) -> dict[str, Places]:
        """Tell by key which steps the windows are made of; leaves out keys of which nothing is as it was recorded."""
        batch = dataset.__getitems__(list(range(len(dataset))))
        found = {}
        for key, windows in {**batch["obs"], "action": batch["action"]}.items():
            places = [self.recording.places(key, window) for window in windows]
            if any(place is not None for window in places for place in window):
                found[key] = places
            else:
                self.strange[key] = None
        return found

    def say_what_is_strange(self) -> None:
        """Stop where some keys could not be looked at.

        Raises:
            NotChecked: nobody can tell which steps they are of.
        """
        if self.strange:
            raise NotChecked(
                f"{quoted(self.strange)} come out otherwise than they were recorded, so nobody can tell which steps "
                "they are of"
            )

    def episodes(self, dataset: Any) -> set[int]:
        """Return the episodes that there are windows of."""
        windows = [window for windows in self.places(dataset).values() for window in windows]
        return {place.episode for window in windows for place in window if place is not None}


def _break(places: list[Place | None], recording: Recording) -> str | None:
    """Say where steps do not follow each other; None where they do, or where the window leaves the episode."""
    for position, place in enumerate(places):
        if place is None:
            return f"at position {position} what was never recorded"
    for earlier, later in pairwise(place for place in places if place is not None):
        is_border = earlier == later and earlier.step in (0, recording.lengths[earlier.episode] - 1)
        if earlier.episode == later.episode and later.step != earlier.step + 1 and not is_border:
            return f"{later} behind {earlier}"
    return None


def _episodes(numbers: list[int]) -> str:
    return f"episode{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _check_that_no_step_is_in_both(case: Case) -> None:
    """Look for what was seen and then done twice: data that nobody knows are different in every step."""
    dataset = case.build()
    validation = dataset.get_validation_dataset()
    if not (len(dataset) and len(validation)):
        raise NotChecked("nothing is held out with these options")
    if both := _transitions(dataset) & (found := _transitions(validation)):
        case.fail(
            f"{len(both)} of the {len(found)} steps that were looked at in validation are in training, too; expected "
            "none",
            "choose the episodes that are held out first, and cut windows from the others for training; where equal "
            "steps are no accident, let record write episodes that are known",
        )


def _transitions(dataset: Any) -> set[bytes]:
    """Mark every step of windows by what was seen, done, and done next, unless the action stays the same."""
    first = dataset[0]
    size = sum(value.nbytes for value in (*first["obs"].values(), first["action"]))
    stride = max(1, -(-len(dataset) * size // _BUDGET))
    numbers = range(0, len(dataset), stride)
    marks = set()
    for start in range(0, len(numbers), _CHUNK):
        batch = dataset.__getitems__(list(numbers[start : start + _CHUNK]))
        action, tensors = batch["action"].flatten(2), filter(torch.is_tensor, batch["obs"].values())
        obs = [value.reshape(*value.shape[:2], -1) for value in tensors]  # a single number has no more dimensions
        n_steps = min(action.shape[1] - 1, *(value.shape[1] for value in obs))
        for step in range(n_steps):
            changes = (action[:, step] != action[:, step + 1]).any(-1)
            seen = [value[:, step].contiguous().view(torch.uint8) for value in (*obs, action)]
            rows = torch.cat([*seen, action[:, step + 1].contiguous().view(torch.uint8)], dim=-1)[changes]
            marks |= {row.tobytes() for row in rows.numpy()}
    return marks
