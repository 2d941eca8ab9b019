"""Image backbones of timm as observation encoders."""
