"""OSCAR's tasks, one per file: input, losses, metrics and evaluators."""
