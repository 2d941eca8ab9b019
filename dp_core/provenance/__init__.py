"""What a file was made with, and whether it can be used with what is installed here. No torch."""
