"""The version of all four packages; setup.py reads it here."""

__version__ = '0.1.0'
