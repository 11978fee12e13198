"""Speech encoders: a folder each (see `espnet_part.model.kinds`)."""

from espnet_part.model.kinds import EncoderKinds

ENCODERS = EncoderKinds("encoder", __name__, "espnet_part.encoders")
