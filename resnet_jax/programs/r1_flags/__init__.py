"""Translates command lines of TensorFlow's official r1 ResNet to this program."""
