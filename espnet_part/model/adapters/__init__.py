"""Speech adapters: a folder each (see `espnet_part.model.kinds`)."""

from espnet_part.model.kinds import AdapterKinds

ADAPTERS = AdapterKinds("adapter", __name__, "espnet_part.adapters")
