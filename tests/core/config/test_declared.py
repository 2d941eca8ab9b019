"""What config classes declare besides options."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dp_core import Component, Slot
from dp_core.config.declared import gives, names_in, sees
from dp_core.errors import PluginError


@attrs.frozen(kw_only=True)
class Options:
    """Says what the test wants."""

    said: Any = None

    @property
    def gives(self) -> Any:
        return self.said

    @property
    def sees(self) -> Any:
        return self.said


@attrs.frozen(kw_only=True)
class Silent:
    """Says nothing."""


@attrs.frozen(kw_only=True)
class Stumbling:
    inner: Any = None

    @property
    def gives(self) -> str:
        return str(self.inner.parts)


def chosen(config: Any) -> Slot:
    component = Component(kind="encoder", name="e", target="a:B", config=type(config), summary="", distribution="toys")
    return Slot(component, config)


def test_an_encoder_that_says_nothing_sees_a_step_and_gives_a_vector() -> None:
    assert (sees(chosen(Silent())), gives(chosen(Silent()))) == ("step", "vector")
    assert names_in(chosen(Silent()).component, "takes", ("rgb",)) is None


def test_options_may_decide() -> None:
    assert sees(chosen(Options(said="window"))) == "window"
    assert gives(chosen(Options(said="tokens"))) == "tokens"


def test_another_word_names_the_component() -> None:
    with pytest.raises(PluginError) as caught:
        gives(chosen(Options(said="vectors")))

    assert str(caught.value) == ("encoder 'e' of toys: 'gives' of Options must be 'vector' or 'tokens', got 'vectors'")


def test_what_a_property_stumbles_over_is_not_taken_for_silence() -> None:
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'parts'"):
        gives(chosen(Stumbling()))
