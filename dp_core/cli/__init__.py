"""Command lines: arguments, messages, exit statuses. Whatever they do can also be called from Python."""
