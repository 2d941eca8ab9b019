"""The transformer denoiser of the paper."""
