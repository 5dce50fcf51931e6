"""Translates command lines of the r1.x ResNet of the TensorFlow Models repository into commands of this program."""
