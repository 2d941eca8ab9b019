"""``python -m scripts.docs`` writes the pages of ``docs/`` that are made from the code."""
