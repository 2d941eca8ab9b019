"""Published files: fetched only when asked for, checked, read in part, unpacked; from an address or a local path."""
