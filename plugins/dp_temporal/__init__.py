"""The encoder that sees how observations change within the window."""
