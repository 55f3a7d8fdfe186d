"""The parts that all scripts share: flags, error messages, progress, interruption."""
