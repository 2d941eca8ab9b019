"""The training workspace."""
