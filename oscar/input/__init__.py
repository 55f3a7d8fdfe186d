"""Batches for OSCAR models from prepared data sets.

`record_input.RecordInput` streams examples in a resumable order; a task builds batches of its
examples with `texts` (token ids), `layouts` (sequences and masks), `regions` (image features) and
`masking` (random draws). `pretrain` is the input of pre-training.
"""
