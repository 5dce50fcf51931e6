"""TFDS builders of the data sets that come with this package."""
