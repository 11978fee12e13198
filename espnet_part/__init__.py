"""PART for ESPnet: multilingual speech LLMs trained by a declared schedule of stages.

Importing this package registers the task ``part`` with espnetez, which itself is imported only when
it is used.
"""

from espnet_part import _espnetez

__version__ = "0.1.0"

_espnetez.register()
