"""Timing in turn, peers in processes of their own, and what the trainer costs."""
