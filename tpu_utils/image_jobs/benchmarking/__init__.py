"""Benchmarks of image classifiers: exported files, training, and peers in other libraries."""
