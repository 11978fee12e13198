"""Models in the formats of inference engines, turned into directories that transformers loads."""
