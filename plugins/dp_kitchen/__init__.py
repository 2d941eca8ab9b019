"""Franka kitchen (Gupta et al., CoRL 2019): teleoperated demonstrations, and evaluation in MuJoCo."""
