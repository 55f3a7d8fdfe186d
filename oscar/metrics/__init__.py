"""Metrics of the tasks over all predictions of a data set, and their result files."""
