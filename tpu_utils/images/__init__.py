"""Image input: preprocessing, augmentation, and input pipelines."""
