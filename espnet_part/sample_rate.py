"""The rate of all speech in this package: that of the encoders, and what audio is resampled to."""

#: Samples a second.
SAMPLE_RATE = 16000
