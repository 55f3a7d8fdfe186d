"""Names that other programs gave the variables of each paper's models, one module a paper."""
