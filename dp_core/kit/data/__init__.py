"""Recordings as people have them, brought to the form in which they travel. For data sets and modalities."""
