"""ResNets that R3M trained on videos of people (Nair et al., CoRL 2022)."""
