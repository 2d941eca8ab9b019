"""The encoder that consists of others, each for its own observations."""
