"""The page of `oscar.demo`: what trained models make of scenes that they were not trained on."""
