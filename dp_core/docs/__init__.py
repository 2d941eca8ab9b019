"""``python -m dp_core.docs`` writes the pages of ``docs/`` that are made from the code."""
