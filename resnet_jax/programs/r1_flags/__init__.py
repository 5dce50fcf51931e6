"""Translates command lines of TensorFlow's official r1 ResNet into commands of this program."""
