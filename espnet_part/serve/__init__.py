"""A trained model over HTTP, as OpenAI's clients ask for it; needs the extra ``serve``."""
