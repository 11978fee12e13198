"""What never trains unless a selector names it outright."""

#: Whisper's sinusoidal positions, which its authors froze by design, and the LLM's base weights.
PROTECTED = ("encoder.embed_positions", "llm")
