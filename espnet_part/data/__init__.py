"""From data directories to batches."""

#: What an encoder frame costs beside an LLM position, unless a configuration says so.
ENCODER_COST = 0.4

#: (task, language heard or read, language written)
Stratum = tuple[str, str, str]
