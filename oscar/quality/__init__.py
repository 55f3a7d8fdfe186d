"""Baselines of the tasks, and the report that compares them with trained models."""
