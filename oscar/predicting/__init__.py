"""Predictions of trained models: from pictures or features and texts to answers; see README.md."""
