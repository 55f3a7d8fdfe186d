"""Image input: reading, preprocessing and augmentation, shared by EfficientNet and ResNeXt."""
