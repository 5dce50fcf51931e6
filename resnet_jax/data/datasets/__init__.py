"""TFDS builders of data sets that come with this package."""
