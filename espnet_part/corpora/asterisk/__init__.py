"""Asterisk's recorded prompts: real speech in five languages, each prompt in all of them."""
