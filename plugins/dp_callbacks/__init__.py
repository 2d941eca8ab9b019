"""Callbacks that come with dp-core: JSON-lines log, progress bar, top-k checkpoints, early stop."""
