"""`BaseModality`: what the observations of a key are, from the recording to the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dp_core.normalizer import SingleFieldLinearNormalizer
from dp_core.observations import Meaning, Raw
from dp_core.shape_meta import built_modality


class BaseModality(Meaning):
    """Says of one observation key what may be recorded, stored, handed to a policy and given to an encoder.

    Built with ``shape``, that of one observation. Its options are the entries of ``shape_meta["obs"][key]`` that its
    config class has; the config class also says which shapes are legal::

        def check(self, shape, key):  # asks for one of them, or both
            if len(shape) != 2:
                yield "shape", f"expected [points, coordinates], got {list(shape)}"

    ``is_image: ClassVar[bool] = True`` in it says that observations are images (C, H, W), for encoders of such.

    The way of an observation, and who takes which step::

        recorded --stored--> in memory --------> batch --received, convert--> scaled --> encoder
                  data set            data set            normalizer

    Numbers travel as tensors. What is no number, such as text, is an array of numpy all the way, and the encoder gets
    it as a list of N. A modality keeps no state: data of all keys, episodes and processes may share one.
    """

    def __init__(self, config: Any, *, shape: Sequence[int]) -> None:
        self.config = config
        self.shape = tuple(shape)

    @abstractmethod
    def stored(self, values: NDArray[Any], name: str, *, range_eps: float = 1e-4) -> NDArray[Any]:
        """Check recorded values and bring them to the form in which a data set keeps and batches them.

        Args:
            values: (N, *shape); also other forms that recordings of this modality have, such as channels last.
            name: where they come from, for messages.
            range_eps: what has a smaller range is constant, see `fit`; rounding it loses nothing.

        Returns:
            (N, *shape), numbers or an array of Python's strings, of a type that loses nothing; ``values`` itself where
            they are in that form.

        Raises:
            DataError: they are not what this modality can be.
        """

    def fit(self, values: Any, *, range_eps: float = 1e-4) -> SingleFieldLinearNormalizer:
        """Choose how a data set scales this key by default; called only if `is_scaled`.

        Args:
            values: all of a recording (N, *shape), as `stored` returns them, in a tensor.
            range_eps: what has a smaller range is constant: shifted, not scaled.

        Returns:
            Scale and offset of what `convert` gives; here, by the limits of each entry.

        Raises:
            InputError: float32 cannot tell the values apart.
        """
        return SingleFieldLinearNormalizer.create_fit(
            self.convert(values), last_n_dims=len(self.shape), range_eps=range_eps
        )

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Raw:
        """Draw legal raw observations (count, *shape), as a policy is handed them: for tests of other components."""

    def normalized_sample(self, count: int, generator: torch.Generator) -> Any:
        """Draw what an encoder is given, (count, *shape): floats in [-1, 1]; what is not scaled, converted samples."""
        if not self.is_scaled:
            values = self.convert(self.sample(count, generator))
            return values if isinstance(values, Tensor) else values.tolist()
        return 2 * torch.rand(count, *self.shape, generator=generator) - 1


def modality_of(shape_meta: Mapping[str, Any], key: str) -> BaseModality:
    """Return the modality of an observation, built for its shape.

    Raises:
        ConfigError: of plain containers: no such modality is installed, or it refuses what is said of the key.
        DpError: its implementation cannot be imported.
    """
    modality: BaseModality = built_modality(shape_meta, key)
    return modality
