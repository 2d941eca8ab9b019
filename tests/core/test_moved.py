"""What was replaced: modules that are gone are told with their new place, names that live on warn of it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from dp_core.kit.files.cache import cache_folder
from dp_core.moved import MOVED, new_place
from dp_core.testing.fakes import installed


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


@pytest.fixture
def old_place(tmp_path: Path) -> Iterator[str]:
    """The name of a module one of whose names is elsewhere now."""
    names = '{"folder_of_caches": "dp_core.kit.files.cache:cache_folder"}'
    (tmp_path / "old_place.py").write_text(
        f'from dp_core.moved import replaced\n__getattr__ = replaced(__name__, {names}, gone_in="0.3")\n'
    )
    with installed(tmp_path):
        yield "old_place"


def test_a_name_that_was_replaced_works_and_warns_where_it_is_used(old_place: str) -> None:
    use = compile(f"from {old_place} import folder_of_caches", "plugin.py", "exec")
    found: dict[str, object] = {}
    with pytest.warns(DeprecationWarning, match=r"^old_place\.folder_of_caches is deprecated") as caught:
        exec(use, found)

    assert found["folder_of_caches"] is cache_folder
    assert {warning.filename for warning in caught} == {"plugin.py"}
    assert str(caught[0].message) == (
        "old_place.folder_of_caches is deprecated and gone in dp-core 0.3; use dp_core.kit.files.cache.cache_folder"
    )


def test_any_other_name_is_missing_as_ever(old_place: str) -> None:
    with pytest.raises(AttributeError, match=r"^module 'old_place' has no attribute 'nothing'$"):
        getattr(importlib.import_module(old_place), "nothing")  # noqa: B009 -- not mypy's business
