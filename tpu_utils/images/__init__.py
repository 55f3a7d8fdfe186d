"""Image input: what models expect of images, and the pipelines that deliver it."""
