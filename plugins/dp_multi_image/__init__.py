"""A ResNet of torchvision per camera, or one for all, as an observation encoder."""
