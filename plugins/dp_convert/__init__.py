"""Checkpoints of other projects: `dp-convert` reads those of the original Diffusion Policy and of LeRobot."""
