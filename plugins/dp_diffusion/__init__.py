"""The diffusion policy: an encoder, a denoiser and a scheduler put together."""
