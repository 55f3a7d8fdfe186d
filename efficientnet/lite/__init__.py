"""EfficientNet-Lite: without squeeze-and-excitation and swish, for phones and quantization."""
