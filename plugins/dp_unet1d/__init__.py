"""The 1-D U-Net denoiser."""
