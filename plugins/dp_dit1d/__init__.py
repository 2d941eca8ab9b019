"""The diffusion transformer denoiser."""
