"""A Q-Former over windows of frames, as SALMONN has."""
