"""``python -m dp_core.new_plugin dp-depth --kind encoder`` writes a package with a plugin that works at once."""
