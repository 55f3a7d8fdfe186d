"""From people's image files to checked TFRecord shards; the command is `tpu_utils/images/prepare.py`."""
