"""Where modules are that have moved."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from dp_core.moved import MOVED, new_place


@pytest.mark.parametrize("old", MOVED)
def test_a_module_that_moved_is_where_it_is_said_to_be(old: str) -> None:
    assert find_spec(old) is None
    assert find_spec(MOVED[old]) is not None


@pytest.mark.parametrize(
    ("statement", "end"),
    [
        ("from dp_core.batches import BatchOrder", "; it is dp_core.training.data_loading now"),
        ("import dp_core.rollout.environment", "; it is dp_core.kit.rollout now"),
        ("import dp_core.nothing", ""),
        ("from dp_core import nothing", ""),
    ],
)
def test_a_failed_import_says_the_new_place(statement: str, end: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(statement)

    assert new_place(caught.value) == end
