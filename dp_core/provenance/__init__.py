"""Records what a file was made with, and decides whether it can be used with what is installed here. No torch."""
