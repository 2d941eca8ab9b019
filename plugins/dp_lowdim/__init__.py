"""The encoder for observations without images: concatenation."""
