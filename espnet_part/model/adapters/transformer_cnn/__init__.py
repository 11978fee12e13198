"""The paper's adapter: a convolution that downsamples, then Transformer layers."""
