"""`LinearNormalizer`: the one place that scales data, from raw units to what networks compute with, and back."""

from dp_core.normalizer.linear import LinearNormalizer, SingleFieldLinearNormalizer, array_to_stats

__all__ = ["LinearNormalizer", "SingleFieldLinearNormalizer", "array_to_stats"]
