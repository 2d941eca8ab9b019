"""Push-T: demonstrations, environment and runner."""
