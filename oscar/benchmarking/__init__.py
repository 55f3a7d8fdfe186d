"""How OSCAR's work grows: captions with their length, the input with the size of the corpus."""
