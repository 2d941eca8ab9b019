"""A library for authors of plugins: rollouts in environments, parts of networks, files. Nothing in core imports it."""
