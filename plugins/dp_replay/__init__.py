"""Demonstrations in a zarr replay buffer, and windows over them: what data set plugins build on."""
