"""EfficientNet-CondConv: kernels computed for each example (arXiv 1904.04971)."""
