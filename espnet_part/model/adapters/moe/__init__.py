"""A mixture of small adapters, each frame with its own weights of them."""
