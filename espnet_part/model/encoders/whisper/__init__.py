"""Whisper's encoder (Radford et al. 2022) on true lengths."""
