"""Components for dp-core. Nothing is imported here: listing plugins imports this file."""
