"""Sizes of the work that `oscar.benchmark_tasks` times, which both sides need to know."""

NUM_ANSWERS = 3129  # Of VQA, with the official labels.
NUM_BEAMS = 5
NUM_SAMPLES = 5  # Captions drawn for an image.
