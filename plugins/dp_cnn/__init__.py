"""A light convolutional image encoder, for machines without a GPU."""
