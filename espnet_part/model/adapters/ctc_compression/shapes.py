"""The parameters of the adapter `ctc_compression` by arithmetic: those of `ctc_spelling`."""

from espnet_part.model.adapters.ctc_spelling.shapes import shapes

__all__ = ["shapes"]
