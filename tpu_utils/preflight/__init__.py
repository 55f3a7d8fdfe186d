"""Compiles a job's steps for a TPU on a machine without one, and reports memory and traffic.

`--mode=preflight` of every training script does it: TensorFlow lowers the steps to StableHLO, the
TPU compiler in the `libtpu` wheel compiles them in a process of its own, and the compiled program
says what a step needs. The modules: `topology` (chips), `lowering` (TensorFlow), `compiler` (the
process with jax), `compiling` (its cache and progress), `hlo` (bytes of HBM), `report`, `checks`.
"""
