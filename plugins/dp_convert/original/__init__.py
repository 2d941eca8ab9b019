"""The original Diffusion Policy code (Chi et al. 2023): its checkpoint files, configs and classes."""
