"""EfficientNet-EdgeTPU: the first stages without depthwise convolutions, for Coral's Edge TPU."""
