"""ImageNet of the challenge of 2012 (ILSVRC2012), from its archives to a TFDS data set."""
