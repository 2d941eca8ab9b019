"""Finds plugins, chooses those to load, asks what they offer, and calls their hooks. No torch."""
