"""Encoders of language: sentences, and ids of words."""
