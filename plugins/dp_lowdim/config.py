"""Options of the low-dimensional encoder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from dp_core.errors import quoted
from dp_core.shape_meta import keys_of_type


@attrs.frozen(kw_only=True)
class LowdimConfig:
    """Options of the encoder: there are none."""

    def check(self, shape_meta: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """Report images, which need an encoder that looks at them."""
        if images := keys_of_type(shape_meta, "rgb"):
            names = quoted(images)
            yield "name", f"'lowdim' cannot encode images, and shape_meta has {names}; choose an encoder of images"
