"""Conversion of image files to verified TFRecord shards; run by `tpu_utils/images/prepare.py`."""
