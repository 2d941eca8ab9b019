"""Where files that can be made again are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from dp_core.kit.files.cache import cache_folder


def test_the_cache_is_where_the_user_or_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_CACHE_DIR", "/elsewhere/cache")
    assert cache_folder() == Path("/elsewhere/cache")
    monkeypatch.delenv("DP_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/dp-core")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "dp-core"
