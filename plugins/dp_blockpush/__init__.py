"""Block pushing, two blocks and two targets (Florence et al., CoRL 2021): data set and evaluation in PyBullet."""
