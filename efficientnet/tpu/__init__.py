"""EfficientNet-X and -H: searched and scaled for datacenter accelerators (arXiv 2102.05610)."""
