"""Jobs of image classifiers that the papers' scripts share: train, fine-tune, evaluate, compare."""
