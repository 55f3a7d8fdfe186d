"""OSCAR's tasks, one a file: its input, losses, metrics and evaluators."""
