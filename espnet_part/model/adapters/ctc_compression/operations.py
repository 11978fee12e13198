"""The forward pass of the adapter `ctc_compression`: that of `ctc_spelling`, with as many embeddings as
there can be."""

from espnet_part.model.adapters.ctc_spelling.operations import operations

__all__ = ["operations"]
