"""The modalities that come with dp-core: what the observations of a key are, from the recording to the network."""
