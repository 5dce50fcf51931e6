"""TFDS builders of data sets that TFDS does not have or cannot prepare here."""
