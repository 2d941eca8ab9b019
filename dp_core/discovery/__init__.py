"""How plugins are found, chosen and asked what they offer, and how their hooks are called. No torch."""
