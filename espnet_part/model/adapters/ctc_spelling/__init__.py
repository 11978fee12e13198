"""An adapter that spells what it hears (CTC) and hands the LLM its own tokens of that, with the states."""
