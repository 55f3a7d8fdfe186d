"""Benchmark tools: timing in turn, and other libraries in separate processes."""
