"""Noise processes and samplers, with the names and numbers of diffusers."""
