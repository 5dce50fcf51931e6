"""--mode=prepare: builds a TFDS data set from the archives of ILSVRC2012 (ImageNet) or from other data."""
