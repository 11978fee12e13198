"""Stacked frames and a perceptron."""
